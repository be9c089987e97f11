//go:build race

package e2e

// raceDetector says whether the tests look for data races, and so the program has to.
const raceDetector = true
