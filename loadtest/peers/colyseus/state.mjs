// What server and clients share: as many entities, fields and bits as a move of
// Weft has on the ground.
import { schema, t } from "@colyseus/schema";

export const Entity = schema({ x: t.uint16(), y: t.uint16(), yaw: t.uint8() }, "Entity");

export const State = schema({
  tick: t.uint32(),
  at: t.float64(), // when the tick was due to be simulated, ms since 1970
  entities: t.map(Entity),
}, "State");
