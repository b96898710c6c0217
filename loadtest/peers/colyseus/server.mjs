// A room in which everyone walks and each is told of everyone, 20 times a second.
import { Server, Room } from "@colyseus/core";
import { WebSocketTransport } from "@colyseus/ws-transport";
import { Encoder } from "@colyseus/schema";
import { Entity, State } from "./state.mjs";

Encoder.BUFFER_SIZE = 64 << 10; // a state that does not fit is encoded twice

const stepMs = 50, place = 48 * 16, pace = 2 * 16 / 20; // 48 m across, 2 m/s, in 1/16 m a tick

class Crowd extends Room {
  maxClients = 5000;
  state = new State();
  walkers = new Map();

  onCreate() {
    this.autoDispose = false;
    this.patchRate = stepMs;
    this.seatReservationTimeout = 60;
    this.onMessage("steer", (client, heading) => {
      const w = this.walkers.get(client.sessionId);
      if (w && typeof heading === "number") {
        w.dx = pace * Math.cos(heading);
        w.dy = pace * Math.sin(heading);
        w.entity.yaw = ((heading / (2 * Math.PI) * 256) | 0) & 255;
      }
    });
    this.setSimulationInterval(() => this.step(), stepMs);
  }

  onJoin(client) {
    const entity = new Entity();
    entity.x = Math.random() * place;
    entity.y = Math.random() * place;
    entity.yaw = 0;
    this.state.entities.set(client.sessionId, entity);
    this.walkers.set(client.sessionId, { entity, x: entity.x, y: entity.y, dx: pace, dy: pace });
  }

  onLeave(client) {
    this.state.entities.delete(client.sessionId);
    this.walkers.delete(client.sessionId);
  }

  step() {
    for (const w of this.walkers.values()) {
      w.x += w.dx;
      w.y += w.dy;
      if (w.x < 0 || w.x > place) w.dx = -w.dx;
      if (w.y < 0 || w.y > place) w.dy = -w.dy;
      w.entity.x = Math.min(Math.max(w.x, 0), place);
      w.entity.y = Math.min(Math.max(w.y, 0), place);
    }
    this.state.tick = (this.state.tick ?? 0) + 1;
    this.state.at = Date.now();
  }
}

const server = new Server({ transport: new WebSocketTransport({ pingInterval: 0 }), greet: false });
server.define("crowd", Crowd);
await server.listen(Number(process.argv[2]), "127.0.0.1");
console.log(JSON.stringify({ ready: true }));
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
