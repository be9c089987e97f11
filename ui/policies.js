// The keys of a job beyond those of the original, with what they are called and what they are for.
export const policies = [
  ['killGrace', 'Grace of a kill', 'Between the request to end and the kill, e.g. PT30S'],
  ['retryDelay', 'Retry after', 'The pause before another attempt, e.g. PT1M'],
  ['retryBackoff', 'Retry backoff', 'Each further pause is so many times longer'],
  ['retryDelayMax', 'Retry after at most', 'The longest pause, e.g. PT30M'],
  ['overlap', 'Overlap', 'What becomes of an occurrence while a run is under way'],
  ['maxConcurrent', 'Runs at once', 'At most so many, where overlap is “allow”'],
  ['runOn', 'Runs on', 'Which end of a parent it runs after'],
  ['pool', 'Pool', 'Whose slots its runs share'],
  ['missed', 'Missed', 'Which occurrences are made up that fell due while nobody led'],
  ['exclude', 'Not then', 'Dates or intervals, like 2030-05-01 or 2030-12-24/2031-01-02'],
  ['alertAfter', 'Tell when slower than', 'e.g. PT1H'],
  ['alertWithoutSuccess', 'Tell without success for', 'e.g. P2D'],
  ['notify', 'Tells', 'Addresses (mailto: or https) and the kinds that each wants, all if left out'],
  ['labels', 'Labels', 'Keys with values, for people and tools'],
];
