"""The page where people sign in: plain HTML that needs no script, so it works before anything else does."""

from __future__ import annotations

from html import escape

from cloud.api.sign_in import SignInView

_STYLE = """
:root { color-scheme: light dark; --ink: #0f172a; --back: #f8fafc; --card: #fff; --line: #64748b; --bad: #991b1b; --act: #1d4ed8 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #f1f5f9; --back: #0f172a; --card: #1e293b; --line: #94a3b8; --bad: #fca5a5; --act: #1d4ed8 }
}
* { box-sizing: border-box }
body { margin: 0; font: 1rem/1.5 system-ui, sans-serif; color: var(--ink); background: var(--back) }
main { max-width: 30rem; margin: 12vh auto 0; padding: 2rem; background: var(--card); border-radius: .5rem }
h1 { margin: 0 0 1rem; font-size: 1.5rem }
label { display: block; font-weight: 600 }
input { width: 100%; padding: .6rem; font: inherit; color: inherit; background: var(--back);
  border: 1px solid var(--line); border-radius: .25rem }
button, .button { display: inline-block; margin-top: 1rem; padding: .6rem 1.2rem; font: inherit; font-weight: 600; color: #fff;
  background: var(--act); border: 0; border-radius: .25rem; text-decoration: none; cursor: pointer }
:focus-visible { outline: 3px solid var(--act); outline-offset: 2px }
.trouble { color: var(--bad); font-weight: 600; overflow-wrap: anywhere }
a { color: inherit }
"""

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Sign in · Plumbline</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,"><style>{style}</style></head>
<body><main><h1>Sign in to Plumbline</h1>
{content}
</main></body></html>
"""

_FORM = """{trouble}<form method="post" action="/sign-in" autocomplete="off">
<input type="hidden" name="next" value="{next_path}">
<label for="token">Your token</label>
<input id="token" name="token" type="password" autocomplete="off" autocapitalize="off" spellcheck="false" maxlength="256"
 required autofocus aria-describedby="how">
<p id="how">Whoever is admin makes one for you: <code>plumbline-cloud token add NAME --role ROLE</code>. On the server itself, the
operator's lies in <code>secrets/operator.token</code>.</p>
<button type="submit">Sign in</button>
</form>{provider}"""

_PROVIDER = '<p>or</p><a class="button" href="/sign-in/provider?next={next_path}">Sign in with your account</a>'

_SIGNED_IN = """<p class="whoami">You are signed in as {name} ({role}).</p>
<p><a href="{next_path}">Go on</a></p>
<form method="post" action="/sign-out"><button type="submit">Sign out</button></form>"""


def sign_in_page(view: SignInView) -> str:
    """Return the page. Whatever was typed is not in it."""
    onward = escape(view.next_path)
    if view.person is not None:
        name, role = escape(view.person.name), view.person.role.value
        content = _SIGNED_IN.format(name=name, role=role, next_path=onward)
    else:
        trouble = f'<p class="trouble" role="alert">{escape(view.trouble)}</p>\n' if view.trouble else ""
        provider = _PROVIDER.format(next_path=onward) if view.provider else ""
        content = _FORM.format(trouble=trouble, next_path=onward, provider=provider)
    return _PAGE.format(style=_STYLE, content=content)
