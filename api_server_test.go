package main

import (
	"net/http/httptest"
	"strings"
	"testing"
)

// testScheduler returns a scheduler that leads, with an in-memory store and a cluster that never offers anything.
func testScheduler(t testing.TB) *scheduler {
	return &scheduler{}
}

// testCall returns a call as the server makes it for a request without a body.
func testCall(t *testing.T, s *server, request string) *call {
	t.Helper()
	method, target, _ := strings.Cut(request, " ")
	r := httptest.NewRequestWithContext(t.Context(), method, target, nil)
	return &call{w: &answer{ResponseWriter: httptest.NewRecorder()}, r: r, server: s, api: true}
}
