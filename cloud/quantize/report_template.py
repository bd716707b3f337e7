"""The gate's report as HTML: one page, no scripts, nothing from elsewhere; jinja2 escapes whatever it is given."""

TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Gate report: {{ name }}</title>
<style>
:root { --ink: #1d2733; --soft: #5c6773; --line: #e3e6ea; --blue: #0072B2; --orange: #D55E00; color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; background: #f6f7f9; color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 28px 24px 60px; }
h1 { font-size: 25px; margin: 0 0 2px; overflow-wrap: anywhere; }
h2 { font-size: 17px; margin: 0 0 10px; }
.sub { color: var(--soft); margin: 0 0 18px; overflow-wrap: anywhere; }
section { background: #fff; border: 1px solid var(--line); border-radius: 8px; padding: 18px 20px; margin: 0 0 16px; }
.verdict { border-left: 8px solid var(--blue); }
.verdict.failed { border-left-color: var(--orange); }
.verdict strong.word { font-size: 21px; }
.verdict ul { margin: 8px 0 0; padding-left: 20px; }
.note { background: #fff4ec; border-left: 4px solid var(--orange); padding: 8px 12px; margin: 0 0 16px; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(400px, 1fr)); gap: 16px; }
.pair section { margin: 0; }
.pair { margin-bottom: 16px; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { text-align: left; padding: 6px 10px; border-bottom: 1px solid var(--line); vertical-align: top; overflow-wrap: anywhere; }
th { color: var(--soft); font-weight: 600; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.state { white-space: nowrap; font-weight: 600; color: var(--blue); }
tr.failed td.state { color: var(--orange); }
tr.failed { background: #fff8f3; }
td.check { min-width: 11em; font-weight: 600; }
svg { max-width: 100%; height: auto; display: block; font-family: inherit; }
p.small { color: var(--soft); font-size: 13px; margin: 10px 0 0; }
code { font: 13px ui-monospace, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
@media (max-width: 640px) {
  main { padding: 16px 10px 40px; }
  section { padding: 14px 12px; overflow-x: auto; }
  .pair { grid-template-columns: minmax(0, 1fr); }
  th, td { padding: 6px; overflow-wrap: normal; }
  td.check { min-width: 0; }
  .checks tr, .checks td { display: block; border: 0; padding: 0 4px; }
  .checks tr { border-bottom: 1px solid var(--line); padding: 8px 0; }
  .checks tr:first-child { display: none; }
  .checks td { overflow-wrap: anywhere; }
}
@media print {
  body { background: #fff; font-size: 12px; -webkit-print-color-adjust: exact; print-color-adjust: exact; }
  main { max-width: none; padding: 0; }
  section { border: 0; border-top: 1px solid var(--line); border-radius: 0; break-inside: avoid; padding: 10px 0; }
  section.verdict { padding-left: 12px; }
}
</style>
</head>
<body>
<main>
<h1>Gate report: {{ name }}</h1>
<p class="sub">{{ report.candidate | base_name }}
{%- if report.incumbent %} against {{ report.incumbent | short_path }}{% else %}, a first model: compared with none{% endif %};
{{ card.base.images }} holdout images
{%- if card.drift %}, {{ card.drift.images }} reviewed images of the drifted slice{% endif %}</p>
{% if simulated %}<p class="note"><strong>Simulated images.</strong> This says nothing about real parts.</p>{% endif %}

<section class="verdict{% if not report.passed %} failed{% endif %}">
{% if report.passed %}
<strong class="word">&#10003; Passed.</strong> All {{ report.checks | length }} checks held.
{% else %}
<strong class="word">&#10007; Failed.</strong> {{ failures | length }} of {{ report.checks | length }} checks did not hold:
<ul>{% for check in failures %}<li><strong>{{ check.name }}</strong>: {{ check.sentence }}</li>{% endfor %}</ul>
{% endif %}
</section>

<section>
<h2>Checks</h2>
<table class="checks">
<tr><th></th><th>check</th><th>what was found</th></tr>
{% for check in report.checks %}
<tr{% if not check.passed %} class="failed"{% endif %}>
<td class="state">{% if check.passed %}&#10003; held{% else %}&#10007; failed{% endif %}</td>
<td class="check">{{ check.name }}</td><td>{{ check.sentence }}</td></tr>
{% endfor %}
</table>
</section>

<section>
<h2>Figures</h2>
<table>
<tr><th></th><th class="number">candidate</th>{% if incumbent %}<th class="number">incumbent</th>{% endif %}</tr>
{% for row in figures %}
<tr><td>{{ row[0] }}</td><td class="number">{{ row[1] }}</td>{% if incumbent %}<td class="number">{{ row[2] }}</td>{% endif %}</tr>
{% endfor %}
</table>
</section>

<section>
<h2>Recall of each label</h2>
{{ charts.recall }}
<p class="small">Dot and line: the candidate and its 95 % interval.
{%- if incumbent %} Diamond: the incumbent.{% endif %} Dashed: the floor. {{ left_out }}</p>
</section>

{% if charts.confusion %}
<section>
<h2>Confusion matrix</h2>
{{ charts.confusion }}
<p class="small">Rows: what it is. Columns: what the model says. Blue: right; orange: wrong. {{ left_out }}</p>
</section>
{% endif %}

<div class="pair">
{% if charts.reliability %}
<section>
<h2>Reliability</h2>
{{ charts.reliability }}
<p class="small">On the dashed line confidence is the share that is right. Off by {{ "%.3f" | format(card.calibration_error) }} on
average, chance included.</p>
</section>
{% endif %}
{% if charts.scores %}
<section>
<h2>The model that ships against full precision</h2>
{{ charts.scores }}
<p class="small">Score of the label that full precision names; area: images. Orange: more than 10 points apart.</p>
</section>
{% endif %}
</div>

{% if charts.corruptions %}
<section>
<h2>Under corruptions</h2>
{{ charts.corruptions }}
<p class="small">Held-back images, corrupted by computation at severities 1 to 5
{%- if incumbent %}; the same images for both{% endif %}.
{{ per_cell }} images a field: single fields scatter, rows tell.</p>
</section>
{% endif %}

<section>
<h2>Thresholds</h2>
<table>
<tr><th>artefact</th><th class="number">PASS from</th><th class="number">REJECT from</th><th>how they were chosen</th></tr>
{% for row in thresholds %}
<tr><td>{{ row[0] }}</td><td class="number">{{ row[1] }}</td><td class="number">{{ row[2] }}</td><td>{{ row[3] }}</td></tr>
{% endfor %}
</table>
{% for line in looks %}<p class="small">{{ line }}</p>{% endfor %}
</section>

<section>
<h2>Model files</h2>
<table>
<tr><th>file</th><th>precision</th><th>quantization</th><th class="number">accuracy</th><th class="number">agrees with fp32</th>
<th class="number">temperature</th><th class="number">bytes</th><th class="number">ms</th></tr>
{% for each in artefacts %}
<tr><td>{{ each.file }}{% if each.file == ships %} (ships){% endif %}</td><td>{{ each.precision }}</td>
<td>{{ each.scheme }} {{ each.method }}</td>
<td class="number">{% if each.accuracy is not none %}{{ "%.4f" | format(each.accuracy) }}{% endif %}</td>
<td class="number">{{ "%.4f" | format(each.agreement_with_fp32) }}</td>
<td class="number">{{ "%.3g" | format(each.temperature) }}</td>
<td class="number">{{ "{:,}".format(each.size_bytes) }}</td><td class="number">{{ "%.2f" | format(each.median_ms) }}</td></tr>
{% endfor %}
</table>
</section>

{% if mistakes %}
<section>
<h2>Surest mistakes on the holdout</h2>
<table>
<tr><th>image (SHA-256 begins)</th><th>is</th><th>is named</th><th class="number">confidence</th></tr>
{% for each in mistakes %}
<tr><td><code>{{ each.image }}</code></td><td>{{ each.truth }}</td><td>{{ each.named }}</td>
<td class="number">{{ "%.3f" | format(each.confidence) }}</td></tr>
{% endfor %}
</table>
<p class="small">No picture is in this report, since it may travel further than images of parts should. The run's dataset.json tells
which file a hash is.</p>
</section>
{% endif %}

<section>
<h2>Where it came from</h2>
<table>
{% for row in lineage %}<tr><td>{{ row[0] }}</td><td><code>{{ row[1] }}</code></td></tr>{% endfor %}
</table>
{% for warning in warnings %}<p class="small">Warning of the training: {{ warning }}</p>{% endfor %}
</section>
</main>
</body>
</html>
"""
