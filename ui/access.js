import { store } from './live.js';

// Without a user everybody may do everything. What somebody may not, Chronos refuses; here it is only not offered.
const roles = ['none', 'read', 'run', 'edit', 'admin'];

const covers = (scopes, row) => scopes.length === 0 || !row ||
  scopes.some(scope => scope.startsWith('owner=') ? row.owner === scope.slice('owner='.length) : row.name.startsWith(scope));

// may tells whether a role is given for a job, for any job if none is named, with all that an edit of it needs.
export function may(role, row, needs = []) {
  const user = store.info?.user;
  if (!user) return true;
  return user.grants.some(grant => roles.indexOf(grant.role) >= roles.indexOf(role) && covers(grant.scopes, row) &&
    (grant.role === 'admin' || needs.every(need => grant.allowed?.includes(need))));
}

const file = uri => !/^https?:\/\//i.test(uri ?? '');

// needsOf lists what of a job gives more than a command, by the names that the users file has for it.
export function needsOf(doc) {
  const c = doc.container ?? {};
  return Object.entries({
    runAsUser: doc.runAsUser && doc.runAsUser !== store.info?.user?.jobsRunAs,
    executor: doc.executor || doc.executorFlags,
    taskInfoData: doc.taskInfoData,
    files: doc.uris?.some(file) || doc.fetch?.some(f => file(f.uri)),
    volumes: c.volumes?.length,
    parameters: c.parameters?.length,
    network: c.network === 'USER' || c.networkName || c.networkInfos?.length,
  }).filter(([, set]) => set).map(([name]) => name);
}
