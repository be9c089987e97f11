import { store } from './live.js';

const present = value => value !== undefined && value !== null && value !== '';
const whole = value => Number.isInteger(Number(value)) && Number(value) >= 0;
const numeric = value => !Number.isNaN(Number(value?.rawJSON ?? value));

// A duration as Chronos reads it: P1DT2H, PT30M, PT1.5S.
const duration = /^P(?=.)(\d+Y)?(\d+M)?(\d+W)?(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+([.,]\d+)?S)?)?$/i;

const isDuration = value => duration.test(value) && /[1-9]/.test(value);

function count(value) {
  return !present(value) || numeric(value) && whole(value.rawJSON ?? value) ? '' : 'Give a whole number: 0 or more.';
}

function size(value) {
  return !present(value) || numeric(value) && Number(value.rawJSON ?? value) >= 0 ? '' : 'Give a number, 0 for what is usual here.';
}

const runsSomething = doc => present(doc.command?.trim?.() ?? doc.command) || present(doc.executor) || present(doc.container?.image) || doc.shell !== false && doc.arguments?.some?.(present);

function nameOf(doc, isNew) {
  if (!present(doc.name)) return 'Give the job a name.';
  if (!/^[\w\s.#-]+$/.test(doc.name)) return 'A name is made of the letters a to z, digits, spaces, and _ . # -';
  return isNew && store.jobs.has(doc.name) ? `There is a job “${doc.name}” already.` : '';
}

function parentsOf(doc) {
  if (!doc.parents) return '';
  if (doc.parents.length === 0) return 'Name the jobs after which it runs.';
  const unknown = doc.parents.filter(name => !store.jobs.has(name));
  return unknown.length ? `There is no job “${unknown[0]}”.` : '';
}

// What must hold of each key, in the words of somebody who has never written a job.
const rules = {
  name: nameOf,
  schedule: doc => doc.parents || present(doc.schedule?.trim()) ? '' : 'Say when the job runs.',
  parents: parentsOf,
  command: doc => runsSomething(doc) ? '' : 'There is nothing to run: give a command, or the image of a container.',
  epsilon: doc => doc.epsilon === undefined || isDuration(doc.epsilon) ? '' : 'Say how long, like PT30M for 30 minutes, PT2H for two hours or P1D for a day.',
  retries: doc => count(doc.retries),
  maxCompletionTime: doc => isDuration(doc.maxCompletionTime) ? '' : count(doc.maxCompletionTime),
  cpus: doc => size(doc.cpus),
  mem: doc => size(doc.mem),
  disk: doc => size(doc.disk),
};

// problems returns what is wrong with a job's document, by key.
export function problems(doc, isNew) {
  const found = new Map();
  for (const [key, rule] of Object.entries(rules)) {
    const text = rule(doc, isNew);
    if (text) found.set(key, text);
  }
  return found;
}
