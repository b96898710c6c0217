// N clients that walk. What the server sends all of them is one and the same
// patch: the first decodes each with Colyseus' own decoder, the others hold
// theirs against it, byte by byte. Reads {"window_ms"} from standard input once
// it has said it is in; says what it saw in that time.
import http from "node:http";
import readline from "node:readline";
import WebSocket from "ws";
import { Decoder } from "@colyseus/schema";
import { State } from "./state.mjs";

const [port, count] = process.argv.slice(2).map(Number);
const JOIN_ROOM = 10, ROOM_DATA = 13, ROOM_STATE = 14, ROOM_STATE_PATCH = 15;
const decoder = new Decoder(new State());
const patches = new Map(); // by tick
const early = [];          // what came before the first client had it
let recording = false, bytes = 0, views = 0, delivered = 0, wrong = 0, ended = 0, moved = 0, ticks = 0;
const ages = [];

function reserve() {
  return new Promise((done, failed) => {
    const req = http.request({ host: "127.0.0.1", port, path: "/matchmake/joinOrCreate/crowd", method: "POST",
      headers: { "content-type": "application/json" } }, (res) => {
      let text = "";
      res.on("data", (d) => text += d);
      res.on("end", () => {
        const seat = JSON.parse(text);
        seat.sessionId ? done(seat) : failed(new Error(text));
      });
    });
    req.on("error", failed);
    req.end("{}");
  });
}

let last = null; // the first client's newest patch
function take(patch, i) {
  const now = Date.now();
  if (i === 0) {
    const before = new Map();
    decoder.state.entities.forEach((e, id) => before.set(id, e.x << 16 | e.y));
    decoder.decode(patch, { offset: 1 });
    let n = 0;
    decoder.state.entities.forEach((e, id) => { if (before.get(id) !== (e.x << 16 | e.y)) n++; });
    last = { patch, at: decoder.state.at, moved: n };
    if (recording) { ticks++; moved += n; }
    for (const e of early.splice(0)) count1(e.patch, e.now, e.size);
  }
  if (!recording) return;
  if (last === null || i !== 0 && last.patch.length !== patch.length || i !== 0 && !last.patch.equals(patch)) {
    early.push({ patch, now, size: patch.length });
    return;
  }
  count1(patch, now, patch.length);
}

function count1(patch, now, size) {
  if (!recording) return;
  if (!last.patch.equals(patch)) { wrong++; return; }
  views++;
  bytes += size + 4;
  delivered += last.moved;
  ages.push(now - last.at);
}

function connect(i) {
  return reserve().then((seat) => new Promise((done, failed) => {
    const room = seat.room ?? seat;
    const ws = new WebSocket(`ws://127.0.0.1:${port}/${room.processId}/${room.roomId}?sessionId=${seat.sessionId}`, { perMessageDeflate: false });
    ws.binaryType = "nodebuffer";
    ws.on("error", failed);
    ws.on("close", () => { ended++; });
    ws.on("message", (b) => {
      switch (b[0]) {
        case JOIN_ROOM:
          ws.send(Buffer.from([JOIN_ROOM]));
          done(ws);
          break;
        case ROOM_STATE:
          if (i === 0) decoder.decode(b, { offset: 1 });
          break;
        case ROOM_STATE_PATCH:
          take(b, i);
      }
    });
  }));
}

const sockets = [];
for (let i = 0; i < count; i += 16) {
  sockets.push(...await Promise.all(Array.from({ length: Math.min(16, count - i) }, (_, k) => connect(i + k))));
}
const steer = Buffer.alloc(16);
let next = 0;
setInterval(() => { // each turns every 1.4 s on average, as Weft's do
  for (let k = 0; k < count / 28; k++) {
    steer[0] = ROOM_DATA;
    steer[1] = 0xa5;
    steer.write("steer", 2);
    steer[7] = 0xcb;
    steer.writeDoubleBE(Math.random() * 2 * Math.PI, 8);
    sockets[next++ % count].send(Buffer.from(steer));
  }
}, 50);
console.log(JSON.stringify({ joined: true }));
for await (const line of readline.createInterface({ input: process.stdin })) {
  const { window_ms } = JSON.parse(line);
  recording = true;
  const first = decoder.state.tick;
  await new Promise((r) => setTimeout(r, window_ms));
  recording = false;
  const simulated = decoder.state.tick - first;
  ages.sort((a, b) => a - b);
  const q = (p) => ages[Math.min(ages.length - 1, Math.floor(ages.length * p))] ?? 0;
  const due = simulated * count * (moved / Math.max(ticks, 1));
  console.log(JSON.stringify({ over: true, due: Math.round(due), delivered: Math.round(delivered), wrong: wrong + early.length, views, bytes,
    ended, ticks: simulated, age_p50: q(0.5), age_p99: q(0.99), age_max: q(1) }));
}
process.exit(0);
