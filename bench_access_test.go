package main

import (
	"testing"
	"time"
)

// BenchmarkLogin is what asking who somebody is costs: remembered, by a token, and for the first time.
func BenchmarkLogin(b *testing.B) {
	o := leading(testScheduler(b))
	o.access = testAccess(b, "alice:admin")
	token, mark := newToken()
	o.access.change(b, usersText(b, "alice:admin")+"machine:"+mark+":read\n")
	s := newAPI(o)
	for name, header := range map[string]string{"password": as("alice"), "token": "\nAuthorization: Bearer " + token} {
		b.Run(name, func(b *testing.B) {
			var took []time.Duration
			for b.Loop() {
				began := time.Now()
				send(b, s, "GET /scheduler/leader"+header)
				took = append(took, time.Since(began))
			}
			reportTimes(b, "login", took)
		})
	}
}
