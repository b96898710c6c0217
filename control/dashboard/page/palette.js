// Colours of nodes: a node keeps its colour while it lives; a new one takes
// the first that is free. Colour is never the only sign: names stand beside it.
const hues = ['#3b82f6', '#e8833a', '#2fa36b', '#c653b8', '#d1a51c', '#7c6cf0', '#12a5b8', '#e0526a', '#7d9a2d', '#a9744f', '#5b8def', '#b05cf0'];
const taken = new Map(); // node → index

export function settle(nodes) {
  const alive = new Set(nodes);
  for (const id of taken.keys()) if (!alive.has(id)) taken.delete(id);
  const used = new Set(taken.values());
  for (const id of nodes) {
    if (taken.has(id)) continue;
    let i = 0;
    while (used.has(i)) i++;
    taken.set(id, i);
    used.add(i);
  }
}

export const colour = (node) => (taken.has(node) ? hues[taken.get(node) % hues.length] : '#8b95a1');
