package main

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The types below are the flag.Values of the option table. Set leaves
// the option as it was when it returns an error, and the error says what would be right.

// textValue is any text that check accepts, as check returns it.
type textValue struct {
	p     *string
	check func(string) (string, error) // nil accepts everything
}

func (v textValue) Set(s string) error {
	if v.check == nil {
		*v.p = s
		return nil
	}
	s, err := v.check(s)
	if err == nil {
		*v.p = s
	}
	return err
}

func (v textValue) String() string {
	if v.p == nil {
		return ""
	}
	return *v.p
}

// boolValue is an option whose presence means true, or false if inverted.
type boolValue struct {
	p        *bool
	inverted bool
}

func (v boolValue) Set(s string) error {
	b, err := strconv.ParseBool(s)
	if err != nil {
		return errors.New("want true or false")
	}
	*v.p = b != v.inverted
	return nil
}

func (v boolValue) String() string {
	if v.p == nil {
		return ""
	}
	return strconv.FormatBool(*v.p != v.inverted)
}

func (v boolValue) IsBoolFlag() bool { return true }

// parseInteger reads a decimal in the range. what names the thing counted.
func parseInteger(s, what string, low, high int64) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < low || n > high {
		return 0, fmt.Errorf("want a whole number%s from %d to %d", what, low, high)
	}
	return n, nil
}

// intValue is a 32-bit number, as the JVM's Int.
type intValue struct {
	p         *int
	low, high int64
}

func (v intValue) Set(s string) error {
	n, err := parseInteger(s, "", v.low, v.high)
	if err == nil {
		*v.p = int(n)
	}
	return err
}

func (v intValue) String() string {
	if v.p == nil {
		return ""
	}
	return strconv.Itoa(*v.p)
}

// longValue is a 64-bit number, as the JVM's Long.
type longValue struct{ p *int64 }

func (v longValue) Set(s string) error {
	n, err := parseInteger(s, "", math.MinInt64, math.MaxInt64)
	if err == nil {
		*v.p = n
	}
	return err
}

func (v longValue) String() string {
	if v.p == nil {
		return ""
	}
	return strconv.FormatInt(*v.p, 10)
}

// spanValue is a duration written as a bare number of its unit, which differs
// from option to option as it did in the JVM versions.
type spanValue struct {
	p    *time.Duration
	unit time.Duration
	bits int
	low  int64
}

func (v spanValue) Set(s string) error {
	what := " of milliseconds, without a unit,"
	if v.unit == time.Second {
		what = " of seconds, without a unit,"
	}
	high := min(math.MaxInt64/int64(v.unit), 1<<(v.bits-1)-1)
	n, err := parseInteger(s, what, v.low, high)
	if err == nil {
		*v.p = time.Duration(n) * v.unit
	}
	return err
}

func (v spanValue) String() string {
	if v.p == nil {
		return ""
	}
	return strconv.FormatInt(int64(*v.p/v.unit), 10)
}

// durationValue is a duration with its unit, for the options that are ours.
type durationValue struct{ p *time.Duration }

func (v durationValue) Set(s string) error {
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return errors.New("want a duration above zero with its unit, like 90s, 10m or 1h30m")
	}
	*v.p = d
	return nil
}

func (v durationValue) String() string {
	if v.p == nil {
		return ""
	}
	s := v.p.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// doubleSyntax is what Double.parseDouble takes as a finite number, hex forms apart.
var doubleSyntax = regexp.MustCompile(`^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?[fFdD]?$`)

// amountValue is a number of cores or megabytes in Java's syntax, so 0.5f is one.
type amountValue struct{ p *float64 }

func (v amountValue) Set(s string) error {
	s = strings.TrimFunc(s, func(r rune) bool { return r <= ' ' })
	if !doubleSyntax.MatchString(s) {
		return errors.New("want a number like 0.5")
	}
	n, err := strconv.ParseFloat(strings.TrimRight(s, "fFdD"), 64)
	if err != nil || n < 0 {
		return errors.New("want a number from 0 on")
	}
	*v.p = n
	return nil
}

func (v amountValue) String() string {
	if v.p == nil {
		return ""
	}
	return strconv.FormatFloat(*v.p, 'f', -1, 64)
}

// oneOfWords accepts a choice of words in any case and returns them in the case listed.
func oneOfWords(words ...string) func(string) (string, error) {
	return func(s string) (string, error) {
		i := slices.IndexFunc(words, func(w string) bool { return strings.EqualFold(s, w) })
		if i < 0 {
			return "", fmt.Errorf("want one of %s", strings.Join(words, ", "))
		}
		return words[i], nil
	}
}
