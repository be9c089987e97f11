package main

// Period is an ISO 8601 period as Joda-Time holds it: every field as it was
// written, nothing folded (P7D is not P1W, PT24H is not P1D).
type Period struct {
	Years, Months, Weeks, Days, Hours, Minutes, Seconds, Millis int32
}
