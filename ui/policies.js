// The keys of a job beyond those of the original, with what they are called, what they are for, and what kind of value they take.
const table = [
  ['overlap', 'Overlap', 'What becomes of an occurrence while a run is under way; delay if not set', 'choice', ['delay', 'skip', 'replace', 'queue', 'allow']],
  ['maxConcurrent', 'Runs at once', 'At most so many, where overlap is “allow”', 'number'],
  ['pool', 'Pool', 'Whose slots its runs share', 'text'],
  ['missed', 'Missed', 'Which occurrences are made up that fell due while nobody led; the newest if not set', 'choice', ['newest', 'all', 'none']],
  ['runOn', 'Runs on', 'Which end of its parents it runs after; success if not set', 'choice', ['success', 'failure', 'end']],
  ['exclude', 'Not then', 'Dates or intervals, like 2030-05-01 or 2030-12-24/2031-01-02', 'strings', 'time'],
  ['retryDelay', 'Retry after', 'The pause before another attempt, e.g. PT1M', 'text'],
  ['retryBackoff', 'Retry backoff', 'Each further pause is so many times longer', 'number'],
  ['retryDelayMax', 'Retry after at most', 'The longest pause, e.g. PT30M', 'text'],
  ['killGrace', 'Grace of a kill', 'Between the request to end and the kill, e.g. PT30S', 'text'],
  ['alertAfter', 'Tell when slower than', 'e.g. PT1H', 'text'],
  ['alertWithoutSuccess', 'Tell without success for', 'e.g. P2D', 'text'],
  ['notify', 'Whom it tells', 'JSON: a list of { "to": "mailto:…" }, with "on" for some kinds only', 'json'],
  ['labels', 'Labels', 'For people and tools', 'pairs', 'label'],
];

export const policies = table.map(([key, label]) => [key, label]);

// policyFields makes the fields of a form from its kinds of fields.
export const policyFields = kinds => Object.fromEntries(table.map(([key, label, hint, kind, more]) => [key, [label, kinds[kind](hint, more)]]));
