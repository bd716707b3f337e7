"""What runs in the inspector's browser: the image with its zoom and light, keys, images loaded beforehand, whether it is online.

The server is told which part was on the screen when a key was pressed, so that no key ever labels another; nothing here knows what
the model said. An image is an element that is kept and put in place when its turn comes: no request then, whatever may be cached.
"""

from __future__ import annotations

STYLE = """
.review-stage { position: relative; width: 100%; height: 58vh; min-height: 16rem; overflow: hidden; background: #16181d;
  border-radius: 8px; cursor: grab; touch-action: none; }
.review-stage img { position: absolute; inset: 0; width: 100%; height: 100%; object-fit: contain; user-select: none;
  transform-origin: 50% 50%; }
.review-label .q-btn__content { flex-wrap: nowrap; justify-content: flex-start; }
.review-key { font-weight: 700; border: 1px solid currentColor; border-radius: 4px; padding: 0 .4em; margin-right: .5em; }
.review-light { display: inline-flex; gap: .5rem; align-items: center; }
.review-light input { width: 11rem; accent-color: var(--pl-act, #1d4ed8); }
"""

SCRIPT = """(() => {
if (window.plumblineReview) return;
const images = new Map();
let shown = '', keys = '', marks = [], busy = false, busySince = 0, pressed = 0, stopped = false, dragged = null;
let view = {zoom: 1, x: 0, y: 0};
const find = name => document.querySelector('.review-' + name);
const online = () => Boolean(window.socket && window.socket.connected);
function load(sample) {
  if (!images.has(sample)) {
    const image = new Image();
    image.draggable = false;
    image.src = '/review/image/' + encodeURIComponent(sample);
    images.set(sample, {image, ready: image.decode().then(() => true, () => false)});
  }
  return images.get(sample);
}
function place() {
  const stage = find('stage');
  if (!stage) return;
  const light = name => Number((find(name) || {value: 100}).value);
  for (const image of stage.querySelectorAll('img')) {
    image.style.transform = `translate(${view.x}px, ${view.y}px) scale(${view.zoom})`;
    image.style.filter = `brightness(${light('brightness')}%) contrast(${light('contrast')}%)`;
  }
  stage.dataset.zoom = view.zoom.toFixed(2);
}
function zoomBy(factor) {
  const zoom = Math.min(Math.max(view.zoom * factor, 1), 16);
  view = zoom === 1 ? {zoom, x: 0, y: 0} : {zoom, x: view.x * zoom / view.zoom, y: view.y * zoom / view.zoom};
  place();
}
function panBy(x, y) { view.x += x; view.y += y; place(); }
function free() { busy = false; }
function put(image) {
  find('stage').replaceChildren(image);
  place();
}
async function show(part) {
  shown = part.sample;
  keys = part.keys;
  marks = part.marks;
  const entry = load(part.sample), mine = part.sample;
  entry.image.alt = part.alt;
  view = {zoom: 1, x: 0, y: 0};
  put(entry.image);
  const kept = new Set([part.sample, part.before, ...part.ahead]);
  for (const sample of images.keys()) if (!kept.has(sample)) images.delete(sample);
  const there = await entry.ready;
  if (shown !== mine) return;
  const stage = find('stage');
  requestAnimationFrame(() => {
    stage.dataset.shown = mine;
    if (pressed) stage.dataset.ms = Math.round(performance.now() - pressed);
    pressed = 0;
    free();
  });
  part.ahead.forEach(load);
  if (!there) { images.delete(mine); emitEvent('review_act', {kind: 'lost', value: 0, shown: mine}); }
}
function answer(source, alt) {
  shown = '';  // until the next part is there, nothing can be labelled
  if (source) {
    const image = new Image();
    image.draggable = false;
    image.alt = alt;
    image.src = source;
    put(image);
  }
  free();
}
function clear() {
  shown = '';
  const stage = find('stage');
  if (stage) { stage.replaceChildren(); stage.dataset.shown = ''; }
  free();
}
function press(kind, value) {
  tell();
  if (stopped || !online() || busy || (!shown && (kind === 'label' || kind === 'skip'))) return;
  // What only marks one of several labels, or turns the answers on, leaves the part: the next key may follow at once.
  if (kind === 'answers' || (kind === 'label' && marks.includes(value))) {
    emitEvent('review_act', {kind, value: value || 0, shown});
    return;
  }
  busy = true;
  busySince = pressed = performance.now();
  emitEvent('review_act', {kind, value: value || 0, shown});
}
function click(event, kind, value) {
  // A button that the mouse pressed keeps the keyboard's focus: Enter would press it again, where it is to store the labels.
  if (event.detail) event.currentTarget.blur();
  press(kind, value);
}
function tell() {
  const sign = find('offline');
  if (!sign) return;
  const away = !online() && !stopped;
  if (sign.hidden === away) sign.hidden = !away;
  // What was sent when the line broke may never have arrived; the part says so by being there again.
  if (busy && performance.now() - busySince > 8000) free();
}
const PAN = {ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60]};
document.addEventListener('keydown', event => {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key, at = event.target;
  if (!find('stage') || at.closest('textarea, select, [role=dialog], input:not([type=range])')) return;
  if (key === 'z' && !event.altKey && !event.shiftKey) {
    event.preventDefault();
    if (!event.repeat) press('undo');
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (PAN[key] && !at.closest('input, [role=switch]')) { event.preventDefault(); panBy(...PAN[key]); return; }
  if (key === '+' || key === '=') { zoomBy(1.25); return; }
  if (key === '-') { zoomBy(0.8); return; }
  if (key === '0') { view = {zoom: 1, x: 0, y: 0}; place(); return; }
  if (event.repeat) return;
  if (key === 'u') { press('skip'); return; }
  if (key === 'o') { press('answers'); return; }
  if (key === 'Enter' && !at.closest('button, a, [role=switch]')) { event.preventDefault(); press('enter'); return; }
  const place_ = keys.indexOf(key);
  if (key.length === 1 && place_ >= 0) press('label', place_);
});
document.addEventListener('wheel', event => {
  if (!event.target.closest('.review-stage')) return;
  event.preventDefault();
  zoomBy(event.deltaY < 0 ? 1.25 : 0.8);
}, {passive: false});
document.addEventListener('pointerdown', event => {
  if (event.target.closest('.review-stage')) dragged = {x: event.clientX, y: event.clientY};
});
document.addEventListener('pointermove', event => {
  if (!dragged) return;
  panBy(event.clientX - dragged.x, event.clientY - dragged.y);
  dragged = {x: event.clientX, y: event.clientY};
});
document.addEventListener('pointerup', () => { dragged = null; });
document.addEventListener('input', event => { if (event.target.closest('.review-light')) place(); });
setInterval(tell, 400);
window.plumblineReview = {
  show, answer, clear, free, click, press, load,
  stop() { stopped = true; images.clear(); clear(); },
  ready() { emitEvent('review_ready', new Date().setHours(0, 0, 0, 0) / 1000); },
};
})()"""
