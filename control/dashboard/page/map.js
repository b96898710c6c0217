// The live map: zones in the colours of their nodes, and whoever is in them.
import { colour } from './palette.js';

const pointBytes = 13;
const player = 1, npc = 2, item = 3, rocket = 4, ship = 5;
const flying = 0x80, idle = 0x40;

export class WorldMap {
  constructor(canvas, hover, shown) {
    this.canvas = canvas;
    this.hover = hover;
    this.shown = shown;
    this.pen = canvas.getContext('2d');
    this.bounds = null; // [x0, y0, x1, y1] in meters
    this.zones = [];
    this.owner = new Map(); // zone → node
    this.moving = new Map(); // key → {from, to, at, kind, flags, zone}
    this.lying = [];
    this.frameMS = 100;
    this.camera = { x: 0, y: 0, scale: 0 }; // center in meters, pixels a meter
    this.following = true;
    this.density = false;
    this.onFollow = () => {};
    this.counts = { moving: [0, 0], lying: [0, 0] };
    this.inks();
    new ResizeObserver(() => this.resize()).observe(canvas);
    this.pointers();
    this.last = performance.now();
    const loop = (now) => { this.draw(now); requestAnimationFrame(loop); };
    requestAnimationFrame(loop);
  }

  // inks reads the theme's colours.
  inks() {
    const probe = document.createElement('span');
    document.body.append(probe);
    const read = (name) => { probe.style.color = `var(${name})`; return getComputedStyle(probe).color; };
    this.ink = read('--ink');
    this.soft = read('--soft');
    this.line = read('--line');
    this.bad = read('--bad');
    this.ground = read('--map');
    probe.remove();
  }

  resize() {
    const ratio = devicePixelRatio || 1;
    this.width = this.canvas.clientWidth;
    this.height = this.canvas.clientHeight;
    this.canvas.width = Math.round(this.width * ratio);
    this.canvas.height = Math.round(this.height * ratio);
    this.pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    if (this.bounds && this.camera.scale === 0) this.fit(this.bounds, true);
  }

  setState(s) {
    const first = !this.bounds;
    this.bounds = s.bounds_m;
    this.zones = s.zones;
    this.owner = new Map(s.zones.map((z) => [z.id, z.owner]));
    if (first && this.width) this.fit(this.bounds, true);
    const h = s.headline;
    const label = `Map of the world: ${h.players} players in ${h.zones} zones on ${new Set(this.owner.values()).size} nodes`;
    if (this.canvas.getAttribute('aria-label') !== label) this.canvas.setAttribute('aria-label', label);
  }

  // decode calls f(key, kind, flags, zone, x, y) for each point.
  decode(m, f) {
    if (!this.bounds) return 0;
    const raw = Uint8Array.from(atob(m.points), (c) => c.charCodeAt(0));
    const view = new DataView(raw.buffer);
    const [x0, y0, x1, y1] = this.bounds;
    for (let at = 0; at + pointBytes <= raw.length; at += pointBytes) {
      const bits = view.getUint8(at + 4);
      const kind = bits & 0x3f;
      f(view.getUint32(at, true) * 64 + kind, kind, bits & 0xc0, view.getUint32(at + 5, true),
        x0 + view.getUint16(at + 9, true) / 65535 * (x1 - x0), y0 + view.getUint16(at + 11, true) / 65535 * (y1 - y0));
    }
    return raw.length / pointBytes;
  }

  setPoints(m) {
    const now = performance.now();
    if (this.framed) this.frameMS += (Math.min(Math.max(now - this.framed, 30), 1000) - this.frameMS) * 0.2;
    this.framed = now;
    const next = new Map();
    const n = this.decode(m, (key, kind, flags, zone, x, y) => {
      const old = this.moving.get(key);
      let fx = x, fy = y;
      if (old) {
        const t = Math.min((now - old.at) / this.frameMS, 1);
        fx = old.fx + (old.x - old.fx) * t;
        fy = old.fy + (old.y - old.fy) * t;
        if (Math.hypot(x - fx, y - fy) > 25) { fx = x; fy = y; } // it did not walk there
      }
      next.set(key, { fx, fy, x, y, at: now, kind, flags, zone });
    });
    this.moving = next;
    this.counts.moving = [n, m.total];
    this.tellShown();
  }

  setLying(m) {
    const lying = [];
    const n = this.decode(m, (key, kind, flags, zone, x, y) => lying.push(x, y));
    this.lying = lying;
    this.counts.lying = [n, m.total];
    this.tellShown();
  }

  tellShown() {
    const parts = [];
    for (const [name, [n, total]] of Object.entries(this.counts)) {
      if (n < total) parts.push(`${n.toLocaleString('en')} of ${total.toLocaleString('en')} ${name}`);
    }
    const text = parts.length ? `shown: ${parts.join(', ')}` : '';
    if (this.shown.textContent !== text) this.shown.textContent = text;
  }

  // The camera.

  fit([x0, y0, x1, y1], atOnce) {
    const scale = Math.min(this.width / (x1 - x0), this.height / (y1 - y0)) * 0.94;
    this.goal = { x: (x0 + x1) / 2, y: (y0 + y1) / 2, scale };
    if (atOnce) this.camera = { ...this.goal };
  }

  follow(on) {
    this.following = on;
    if (!on) this.goal = null;
    this.onFollow(on);
  }

  whole() {
    this.follow(false);
    if (this.bounds) this.fit(this.bounds, false);
  }

  zoom(by, px = this.width / 2, py = this.height / 2) {
    if (!this.bounds) return;
    if (this.following) this.follow(false);
    this.goal = null;
    const [mx, my] = this.place(px, py);
    const c = this.camera;
    const least = Math.min(this.width / (this.bounds[2] - this.bounds[0]), this.height / (this.bounds[3] - this.bounds[1])) * 0.5;
    c.scale = Math.min(Math.max(c.scale * by, least), 200);
    c.x = mx - (px - this.width / 2) / c.scale;
    c.y = my + (py - this.height / 2) / c.scale;
  }

  pan(dx, dy) {
    if (this.following) this.follow(false);
    this.goal = null;
    this.camera.x -= dx / this.camera.scale;
    this.camera.y += dy / this.camera.scale;
  }

  place(px, py) {
    const c = this.camera;
    return [c.x + (px - this.width / 2) / c.scale, c.y - (py - this.height / 2) / c.scale];
  }

  // aim puts the goal where nine of ten players are.
  aim() {
    const xs = [], ys = [];
    for (const p of this.moving.values()) if (p.kind === player) { xs.push(p.x); ys.push(p.y); }
    if (xs.length === 0) {
      if (this.bounds) this.fit(this.bounds, false);
      return;
    }
    xs.sort((a, b) => a - b);
    ys.sort((a, b) => a - b);
    const at = (v, q) => v[Math.floor((v.length - 1) * q)];
    const margin = 5;
    const box = [at(xs, 0.05) - margin, at(ys, 0.05) - margin, at(xs, 0.95) + margin, at(ys, 0.95) + margin];
    this.fit(box, false);
    this.goal.scale = Math.min(this.goal.scale * 0.9, 40);
  }

  pointers() {
    const c = this.canvas;
    const down = new Map();
    c.addEventListener('pointerdown', (e) => { c.setPointerCapture(e.pointerId); down.set(e.pointerId, [e.offsetX, e.offsetY]); c.classList.add('dragging'); });
    const up = (e) => { down.delete(e.pointerId); if (!down.size) c.classList.remove('dragging'); };
    c.addEventListener('pointerup', up);
    c.addEventListener('pointercancel', up);
    c.addEventListener('pointermove', (e) => {
      const was = down.get(e.pointerId);
      if (!was) { this.pointer = [e.offsetX, e.offsetY]; return; }
      if (down.size === 2) {
        const other = [...down].find(([id]) => id !== e.pointerId)[1];
        const dist = (p) => Math.hypot(p[0] - other[0], p[1] - other[1]) || 1;
        this.zoom(dist([e.offsetX, e.offsetY]) / dist(was), (e.offsetX + other[0]) / 2, (e.offsetY + other[1]) / 2);
      } else {
        this.pan(e.offsetX - was[0], e.offsetY - was[1]);
      }
      down.set(e.pointerId, [e.offsetX, e.offsetY]);
    });
    c.addEventListener('pointerleave', () => { this.pointer = null; });
    c.addEventListener('wheel', (e) => { e.preventDefault(); this.zoom(Math.exp(-e.deltaY * 0.0015), e.offsetX, e.offsetY); }, { passive: false });
    c.addEventListener('keydown', (e) => {
      const step = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] }[e.key];
      if (step) { e.preventDefault(); this.pan(...step); }
    });
  }

  // Drawing.

  draw(now) {
    const dt = Math.min(now - this.last, 200);
    this.last = now;
    if (!this.bounds || !this.width) return;
    if (this.following) this.aim();
    if (this.goal) {
      const k = 1 - Math.exp(-dt / 250), c = this.camera;
      c.x += (this.goal.x - c.x) * k;
      c.y += (this.goal.y - c.y) * k;
      c.scale *= (this.goal.scale / c.scale) ** k;
    }
    const pen = this.pen;
    pen.fillStyle = this.ground;
    pen.fillRect(0, 0, this.width, this.height);
    this.drawZones();
    if (this.density) this.drawDensity();
    this.drawLying();
    this.drawMoving(now);
    this.drawLabels();
    this.drawScale();
    this.tellHover();
  }

  // rect is a box in pixels, cut to a little beyond the canvas.
  rect([x0, y0, x1, y1]) {
    const c = this.camera, w = this.width, h = this.height;
    const cut = (v, hi) => Math.min(Math.max(v, -20), hi + 20);
    const l = cut((x0 - c.x) * c.scale + w / 2, w), r = cut((x1 - c.x) * c.scale + w / 2, w);
    const t = cut((c.y - y1) * c.scale + h / 2, h), b = cut((c.y - y0) * c.scale + h / 2, h);
    return [l, t, r - l, b - t];
  }

  drawZones() {
    const pen = this.pen;
    const order = (z) => (z.state === 'retiring' ? 1 : z.layer === 'props' ? 2 : 0);
    for (const z of [...this.zones].sort((a, b) => order(a) - order(b))) {
      const [x, y, w, h] = this.rect(z.box_m);
      if (w <= 0 || h <= 0) continue;
      const ink = colour(z.owner);
      pen.strokeStyle = ink;
      pen.setLineDash([]);
      if (z.state === 'retiring') {
        pen.globalAlpha = 0.5;
        pen.fillStyle = this.hatch(ink);
        pen.fillRect(x, y, w, h);
      } else if (z.layer === 'props') {
        pen.globalAlpha = 1;
        pen.lineWidth = 3;
        pen.setLineDash([8, 5]);
        pen.strokeRect(x + 3, y + 3, Math.max(w - 6, 1), Math.max(h - 6, 1));
      } else {
        pen.globalAlpha = 0.17;
        pen.fillStyle = ink;
        pen.fillRect(x, y, w, h);
        pen.globalAlpha = z.open ? 0.9 : 0.4;
        pen.lineWidth = 1.5;
        if (!z.open) pen.setLineDash([3, 3]);
        pen.strokeRect(x + 0.75, y + 0.75, Math.max(w - 1.5, 0.5), Math.max(h - 1.5, 0.5));
      }
    }
    pen.globalAlpha = 1;
    pen.setLineDash([]);
  }

  hatch(ink) {
    this.hatches ??= new Map();
    if (!this.hatches.has(ink)) {
      const tile = document.createElement('canvas');
      tile.width = tile.height = 8;
      const pen = tile.getContext('2d');
      pen.strokeStyle = ink;
      pen.lineWidth = 1.5;
      pen.beginPath();
      for (const d of [-8, 0, 8]) { pen.moveTo(d - 1, 9); pen.lineTo(d + 9, -1); }
      pen.stroke();
      this.hatches.set(ink, this.pen.createPattern(tile, 'repeat'));
    }
    return this.hatches.get(ink);
  }

  drawDensity() {
    const pen = this.pen;
    let peak = 0;
    const cells = [];
    for (const z of this.zones) {
      const d = z.density;
      if (!d) continue;
      const nx = d.x_m.length - 1;
      d.counts.forEach((n, i) => {
        const cx = i % nx, cy = Math.floor(i / nx);
        const box = [d.x_m[cx], d.y_m[cy], d.x_m[cx + 1], d.y_m[cy + 1]];
        const area = Math.max((box[2] - box[0]) * (box[3] - box[1]), 0.25);
        if (n) { cells.push([box, n / area]); peak = Math.max(peak, n / area); }
      });
    }
    pen.fillStyle = this.bad;
    for (const [box, v] of cells) {
      const [x, y, w, h] = this.rect(box);
      pen.globalAlpha = 0.08 + 0.6 * Math.sqrt(v / peak);
      pen.fillRect(x, y, Math.max(w, 1), Math.max(h, 1));
    }
    pen.globalAlpha = 1;
  }

  drawLying() {
    const pen = this.pen, c = this.camera, w = this.width, h = this.height;
    const size = Math.min(Math.max(c.scale * 0.25, 1.5), 6);
    pen.fillStyle = this.soft;
    pen.globalAlpha = 0.75;
    for (let i = 0; i < this.lying.length; i += 2) {
      const x = (this.lying[i] - c.x) * c.scale + w / 2, y = (c.y - this.lying[i + 1]) * c.scale + h / 2;
      if (x > -9 && x < w + 9 && y > -9 && y < h + 9) pen.fillRect(x - size / 2, y - size / 2, size, size);
    }
    pen.globalAlpha = 1;
  }

  drawMoving(now) {
    const pen = this.pen, c = this.camera, w = this.width, h = this.height;
    const body = Math.min(Math.max(c.scale * 0.3, 2), 9);
    for (const p of this.moving.values()) {
      const t = Math.min((now - p.at) / this.frameMS, 1);
      const x = (p.fx + (p.x - p.fx) * t - c.x) * c.scale + w / 2;
      const y = (c.y - (p.fy + (p.y - p.fy) * t)) * c.scale + h / 2;
      if (x < -40 || x > w + 40 || y < -40 || y > h + 40) continue;
      const ink = colour(this.owner.get(p.zone));
      pen.globalAlpha = p.flags & idle ? 0.45 : 1;
      pen.beginPath();
      if (p.kind === player || p.kind === ship) {
        pen.arc(x, y, p.kind === ship ? Math.max(c.scale * 6, 5) : body, 0, 7);
        pen.fillStyle = ink;
        pen.fill();
        if (body > 3) { pen.strokeStyle = this.ground; pen.lineWidth = 1; pen.stroke(); }
      } else if (p.kind === npc) {
        pen.arc(x, y, Math.max(body - 1, 1.5), 0, 7);
        pen.strokeStyle = ink;
        pen.lineWidth = 1.5;
        pen.stroke();
      } else {
        const r = Math.max(body * 0.7, 3);
        pen.moveTo(x, y - r); pen.lineTo(x + r, y); pen.lineTo(x, y + r); pen.lineTo(x - r, y);
        pen.closePath();
        pen.fillStyle = p.kind === rocket || p.flags & flying ? this.bad : this.soft;
        pen.fill();
      }
    }
    pen.globalAlpha = 1;
  }

  drawLabels() {
    const pen = this.pen;
    pen.font = '12px system-ui, sans-serif';
    pen.textBaseline = 'top';
    pen.lineJoin = 'round';
    for (const z of this.zones) {
      if (z.state === 'retiring') continue;
      let [x, y, w, h] = this.rect(z.box_m);
      w = Math.min(x + w, this.width) - Math.max(x, 0);
      h = Math.min(y + h, this.height) - Math.max(y, 0);
      x = Math.max(x, 0);
      y = Math.max(y, 0);
      const props = z.layer === 'props';
      const text = props ? `${z.owner || 'nobody'} · props` : z.actors ? `${z.owner || 'nobody'} · ${z.actors}` : z.owner || 'nobody';
      const wide = pen.measureText(text).width;
      if (w < wide + 12 || h < 22) continue;
      const px = props ? x + w - wide - 8 : x + 6, py = props ? y + h - 20 : y + 5;
      pen.lineWidth = 4;
      pen.strokeStyle = this.ground;
      pen.globalAlpha = 0.8;
      pen.strokeText(text, px, py);
      pen.globalAlpha = 1;
      pen.fillStyle = this.ink;
      pen.fillText(text, px, py);
    }
  }

  drawScale() {
    const pen = this.pen, target = 110 / this.camera.scale;
    const base = 10 ** Math.floor(Math.log10(target));
    const length = [5, 2, 1].map((k) => k * base).find((v) => v <= target) || base;
    const px = length * this.camera.scale, x = 12, y = this.height - 14;
    pen.strokeStyle = pen.fillStyle = this.ink;
    pen.lineWidth = 1.5;
    pen.beginPath();
    pen.moveTo(x, y - 4); pen.lineTo(x, y); pen.lineTo(x + px, y); pen.lineTo(x + px, y - 4);
    pen.stroke();
    pen.textBaseline = 'bottom';
    pen.fillText(length >= 1000 ? `${length / 1000} km` : `${length} m`, x + 4, y - 2);
  }

  tellHover() {
    let text = '';
    if (this.pointer) {
      const [x, y] = this.place(...this.pointer);
      const inside = (z) => z.state !== 'retiring' && x >= z.box_m[0] && x < z.box_m[2] && y >= z.box_m[1] && y < z.box_m[3];
      text = this.zones.filter(inside).map((z) => `zone ${z.id}${z.layer === 'props' ? ' (props)' : ''} of ${z.owner || 'nobody'}, epoch ${z.epoch}: ` +
        (z.open ? `${z.actors} actors, ${z.props} props, ${z.busy_ms.toFixed(2)} ms a tick` : 'not open')).join(' · ');
    }
    this.hover.hidden = !text;
    if (this.hover.textContent !== text) this.hover.textContent = text;
  }
}
