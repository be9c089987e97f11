// layout places the jobs of a dependency graph in columns: each job is to the right of all
// its parents. Groups that have nothing to do with each other are laid out on their own and
// packed into shelves. It takes names and a function to a name's parents, and returns
// { nodes: Map(name → {name, x, y, column}), edges: [[from, to]], width, height, parents, children }.
// A level of many jobs is wrapped into several columns.
export const size = { w: 200, h: 40, dx: 70, dy: 14 };

const rows = 12; // of a column

// siblings finds jobs, more than a number of them, that have all their parents and all their children in common, and returns a map
// from each of their names to the list that it is in.
export function siblings(names, parentsOf, childrenOf, most = rows) {
  const alike = new Map(), found = new Map();
  for (const name of names) {
    const parents = parentsOf(name) ?? [], children = childrenOf(name) ?? [];
    if (parents.length === 0 && children.length === 0) continue;
    const key = JSON.stringify([[...parents].sort(), [...children].sort()]);
    if (!alike.has(key)) alike.set(key, []);
    alike.get(key).push(name);
  }
  for (const list of alike.values()) if (list.length > most) for (const name of list) found.set(name, list);
  return found;
}

export function layout(names, parentsOf) {
  const shown = new Set(names), parents = new Map(), children = new Map();
  for (const name of names) {
    parents.set(name, (parentsOf(name) ?? []).filter(p => shown.has(p) && p !== name));
    children.set(name, []);
  }
  const edges = [];
  for (const [name, list] of parents) {
    for (const p of list) {
      children.get(p).push(name);
      edges.push([p, name]);
    }
  }
  const blocks = groups(names, parents, children).map(group => place(group, parents, children));
  const { width, height } = pack(blocks);
  const nodes = new Map();
  for (const block of blocks) {
    for (const node of block.nodes) {
      node.x += block.x;
      node.y += block.y;
      nodes.set(node.name, node);
    }
  }
  return { nodes, edges: edges.map(([a, b]) => [nodes.get(a), nodes.get(b)]), width, height, parents, children };
}

// groups are the names that have to do with each other, directly or not.
export function groups(names, parents, children) {
  const seen = new Set(), found = [];
  for (const name of names) {
    if (seen.has(name)) continue;
    const group = [], todo = [name];
    seen.add(name);
    while (todo.length) {
      const n = todo.pop();
      group.push(n);
      for (const list of [parents.get(n), children.get(n)]) {
        for (const other of list) if (!seen.has(other)) { seen.add(other); todo.push(other); }
      }
    }
    found.push(group);
  }
  return found;
}

// columns gives each name the length of the longest path to it. Names in a cycle, which the
// server refuses, would get none; they come last.
function columnsOf(group, parents, children) {
  const column = new Map(), left = new Map(group.map(n => [n, parents.get(n).length]));
  const todo = group.filter(n => left.get(n) === 0);
  for (const n of todo) column.set(n, 0);
  for (let i = 0; i < todo.length; i++) {
    for (const c of children.get(todo[i])) {
      column.set(c, Math.max(column.get(c) ?? 0, column.get(todo[i]) + 1));
      left.set(c, left.get(c) - 1);
      if (left.get(c) === 0) todo.push(c);
    }
  }
  return column;
}

function place(group, parents, children) {
  const column = columnsOf(group, parents, children), columns = [];
  for (const name of group.sort()) {
    const at = column.get(name) ?? 0;
    (columns[at] ??= []).push({ name, column: at, x: 0, y: 0 });
  }
  const node = new Map(columns.flat().map(n => [n.name, n]));
  order(columns, node, parents, children);
  const wrapped = wrap(columns);
  settle(wrapped, node, parents, children);
  let top = Infinity, bottom = 0;
  for (const n of node.values()) {
    n.x = n.column * (size.w + size.dx);
    top = Math.min(top, n.y);
  }
  for (const n of node.values()) { n.y -= top; bottom = Math.max(bottom, n.y); }
  return { nodes: [...node.values()], width: wrapped.length * (size.w + size.dx), height: bottom + size.h + size.dy * 2 };
}

// wrap splits columns that are too long. Those to the right of them move on.
function wrap(columns) {
  const step = size.h + size.dy, wrapped = [];
  for (const c of columns) {
    const parts = Math.ceil(c.length / rows), each = Math.ceil(c.length / parts);
    for (let i = 0; i < c.length; i += each) wrapped.push(c.slice(i, i + each));
  }
  wrapped.forEach((c, at) => c.forEach((n, i) => { n.column = at; n.y = i * step; }));
  return wrapped;
}

// order sorts each column by the positions of its neighbours, back and forth, which removes most crossings.
function order(columns, node, parents, children) {
  const step = size.h + size.dy;
  for (const c of columns) c.forEach((n, i) => { n.y = i * step; });
  for (let pass = 0; pass < 8; pass++) {
    const forth = pass % 2 === 0, near = forth ? parents : children;
    for (const c of forth ? columns : columns.slice().reverse()) {
      for (const n of c) n.want = mean(near.get(n.name), node, n.y);
      c.sort((a, b) => a.want - b.want || (a.name < b.name ? -1 : 1));
      c.forEach((n, i) => { n.y = i * step; });
    }
  }
}

function mean(names, node, otherwise) {
  if (names.length === 0) return otherwise;
  let sum = 0;
  for (const name of names) sum += node.get(name).y;
  return sum / names.length;
}

// settle moves jobs towards the middle of their neighbours without changing their order.
function settle(columns, node, parents, children) {
  const step = size.h + size.dy;
  for (let pass = 0; pass < 6; pass++) {
    const forth = pass % 2 === 0;
    for (const c of forth ? columns : columns.slice().reverse()) {
      const wants = c.map(n => mean((forth ? parents : children).get(n.name), node, n.y));
      // Pool neighbours that want to be too close, so that each group sits around the mean of its wishes.
      const pools = [];
      for (let i = 0; i < c.length; i++) {
        pools.push({ sum: wants[i] - i * step, n: 1 });
        while (pools.length > 1 && pools.at(-2).sum / pools.at(-2).n > pools.at(-1).sum / pools.at(-1).n) {
          const last = pools.pop();
          pools.at(-1).sum += last.sum;
          pools.at(-1).n += last.n;
        }
      }
      let i = 0;
      for (const pool of pools) for (let k = 0; k < pool.n; k++, i++) c[i].y = pool.sum / pool.n + i * step;
    }
  }
}

function pack(blocks) {
  blocks.sort((a, b) => b.height - a.height || b.width - a.width);
  const area = blocks.reduce((sum, b) => sum + b.width * b.height, 0);
  const most = Math.max(Math.sqrt(area) * 1.6, ...blocks.map(b => b.width));
  let x = 0, y = 0, shelf = 0, width = 0;
  for (const b of blocks) {
    if (x > 0 && x + b.width > most) { x = 0; y += shelf; shelf = 0; }
    b.x = x;
    b.y = y;
    x += b.width;
    shelf = Math.max(shelf, b.height);
    width = Math.max(width, x);
  }
  return { width: Math.max(0, width - size.dx), height: y + shelf };
}
