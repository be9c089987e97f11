package main

import (
	_ "embed"
	"encoding/json"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// openapiSource describes every path once, the API's below the prefix of 2.x, without the answers that all have.
//
//go:embed openapi/openapi.json
var openapiSource []byte

// inV1 are the parts of the description that differ below /v1.
var inV1 = map[string]string{
	"#/components/schemas/Job":       "#/components/schemas/JobV1",
	"#/components/responses/Refused": "#/components/responses/RefusedV1",
	"#/components/responses/Missing": "#/components/responses/MissingV1",
}

// describeAPI returns the OpenAPI document with the paths of both prefixes.
var describeAPI = sync.OnceValue(func() []byte {
	var document map[string]any
	if err := json.Unmarshal(openapiSource, &document); err != nil {
		panic(err) // it is embedded in the program
	}
	paths := document["paths"].(map[string]any)
	for path, item := range maps.Clone(paths) {
		rest, ofAPI := strings.CutPrefix(path, "/scheduler/")
		for method, operation := range item.(map[string]any) {
			addCommonAnswers(operation.(map[string]any), method, ofAPI)
		}
		if !ofAPI {
			continue
		}
		other := translated(item).(map[string]any)
		for _, operation := range other {
			o := operation.(map[string]any)
			o["operationId"] = o["operationId"].(string) + "V1"
		}
		paths["/v1/scheduler/"+rest] = other
	}
	text, err := json.Marshal(document)
	if err != nil {
		panic(err)
	}
	return append(text, '\n')
})

// addCommonAnswers describes how an operation may be refused, whatever it is.
func addCommonAnswers(operation map[string]any, method string, ofAPI bool) {
	answers := operation["responses"].(map[string]any)
	add := func(answer any, statuses ...int) {
		for _, status := range statuses {
			if key := strconv.Itoa(status); answers[key] == nil {
				answers[key] = answer
			}
		}
	}
	add(map[string]any{"$ref": "#/components/responses/Unauthorized"}, http.StatusUnauthorized)
	if !ofAPI {
		add(map[string]any{"description": "Refused, or nobody leads."}, http.StatusForbidden, http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable)
		return
	}
	refused := map[string]any{"$ref": "#/components/responses/Refused"}
	add(refused, http.StatusBadRequest, http.StatusForbidden, http.StatusNotAcceptable, http.StatusUnsupportedMediaType, http.StatusTooManyRequests,
		http.StatusRequestEntityTooLarge, http.StatusBadGateway, http.StatusServiceUnavailable)
	if method != "get" {
		add(refused, http.StatusConflict, http.StatusInsufficientStorage)
	}
}

// translated returns a copy of a part of the document as it is below /v1.
func translated(part any) any {
	switch p := part.(type) {
	case map[string]any:
		out := make(map[string]any, len(p))
		for key, v := range p {
			out[key] = translated(v)
			if to, ok := inV1[text(v)]; ok && key == "$ref" {
				out[key] = to
			}
		}
		return out
	case []any:
		out := make([]any, 0, len(p))
		for _, v := range p {
			out = append(out, translated(v))
		}
		return out
	}
	return part
}

// text returns a value that is a text, "" for any other.
func text(v any) string {
	s, _ := v.(string)
	return s
}

// serveOpenAPI answers with the description of the API.
func serveOpenAPI(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		errorPage(w, http.StatusMethodNotAllowed, "HTTP method "+r.Method+" is not supported by this URL")
		return
	}
	w.Header().Set("Content-Type", typeJSON)
	w.Write(describeAPI())
}
