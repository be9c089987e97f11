package main

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var askJoda = flag.Bool("joda", false, "ask Joda-Time itself and rewrite testdata/joda/answers.txt (needs a JDK and libjoda-time-java)")

// The time zone data of Joda-Time and Go come from different releases of the same
// database, so the questions keep to zones and years on which those agree.
var jodaZones = []string{"UTC", "America/New_York", "America/Los_Angeles", "America/St_Johns", "America/Sao_Paulo", "Europe/Berlin",
	"Europe/London", "Asia/Kolkata", "Asia/Tokyo", "Australia/Sydney", "Australia/Lord_Howe", "Pacific/Auckland"}

const (
	jodaFirstYear = 1971
	jodaLastYear  = 2037
)

const jodaAnswers = "testdata/joda/answers.txt"

// The answers were given by Joda-Time 2.10.14 and are kept so that the comparison needs no
// Java. A difference means that a job would run at another time than with a JVM Chronos.
func TestCalendarAgreesWithJoda(t *testing.T) {
	t.Parallel()
	if *askJoda {
		if err := os.WriteFile(jodaAnswers, askOracle(t, jodaQuestions()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(jodaAnswers)
	if err != nil {
		t.Fatal(err)
	}
	asked := map[string]int{}
	for line := range strings.Lines(string(text)) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		question, want := fields[:len(fields)-1], fields[len(fields)-1]
		asked[question[0]]++
		if got := answerJoda(question); got != want {
			t.Errorf("%q = %s, want %s", question, got, want)
		}
	}
	for _, kind := range []string{"period", "start", "plus"} {
		if asked[kind] < 1000 {
			t.Errorf("%s has %d answers about %s, want at least 1000", jodaAnswers, asked[kind], kind)
		}
	}
}

// answerJoda answers one question of testdata/joda/Oracle.java.
func answerJoda(q []string) string {
	switch q[0] {
	case "period":
		if p, err := parsePeriod(q[1]); err == nil {
			return p.String()
		}
	case "start":
		if s, err := parseStart(q[1]); err == nil {
			var zone *time.Location
			if q[2] != "" {
				zone, _ = loadZone(q[2])
			}
			return formatStart(s.in(zone, time.UTC))
		}
	case "plus":
		s, err1 := parseStart(q[1])
		zone, _ := loadZone(q[2])
		p, err2 := parsePeriod(q[3])
		n, err3 := strconv.ParseInt(q[4], 10, 64)
		if err1 != nil || err2 != nil || err3 != nil {
			return "!"
		}
		if sum, err := p.plus(s.in(nil, time.UTC).In(zone), n); err == nil {
			return formatStart(sum)
		}
	}
	return "!"
}

// askOracle returns the questions with Joda's answers.
func askOracle(t *testing.T, questions []string) []byte {
	const jar = "/usr/share/java/joda-time.jar"
	if _, err := os.Stat(jar); err != nil {
		t.Fatalf("%v; install it with: apt-get install libjoda-time-java", err)
	}
	java, err := exec.LookPath("java")
	if err != nil {
		t.Fatalf("%v; install it with: apt-get install default-jdk-headless", err)
	}
	cmd := exec.CommandContext(t.Context(), java, "-cp", jar, "testdata/joda/Oracle.java")
	cmd.Stdin = strings.NewReader(strings.Join(questions, "\n") + "\n")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	answers, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, stderr.Bytes())
	}
	return answers
}

// jodaQuestions returns the same questions every time.
func jodaQuestions() []string {
	r := rand.New(rand.NewPCG(1, 2))
	var q []string
	for range 1500 {
		q = append(q, "period\t"+mutate(r, randomPeriod(r, true)))
	}
	for range 3000 {
		zone := ""
		if r.IntN(3) == 0 {
			zone = jodaZones[r.IntN(len(jodaZones))]
		}
		q = append(q, "start\t"+mutate(r, randomStart(r))+"\t"+zone)
	}
	for range 500 {
		q = append(q, startNearChange(r))
	}
	for range 5000 {
		q = append(q, plusNearChange(r))
	}
	for _, id := range append(slices.Sorted(maps.Keys(legacyZones)), "GMT+2", "GMT-3", "GMT+02:00", "GMT-0330", "GMT+330", "GMT+:30", "GMT+00130",
		"GMT+24", "GMT+2:5", "GMT+002:00", "GMT2", "GMT+", "UTC+2", "+02:00", "utc", "Bogus", " ", "null", "Local", "Etc/GMT+5", "EST5EDT", "Zulu") {
		q = append(q, "start\t2015-01-15T12:00:00Z\t"+id, "start\t2015-07-15T12:00:00Z\t"+id)
	}
	for range 500 { // far from now, where no zone's rules are involved
		at := time.UnixMilli(r.Int64N(1<<58) - 1<<57).In(time.FixedZone("", 60*(r.IntN(1440)-720)))
		n := r.IntN(math.MaxInt32) >> r.IntN(32)
		q = append(q, fmt.Sprintf("plus\t%s\tUTC\t%s\t%d", formatStart(at), randomPeriod(r, true), n))
	}
	return q
}

func randomPeriod(r *rand.Rand, signs bool) string {
	field := func(letter, fraction string) string {
		if r.IntN(3) > 0 {
			return ""
		}
		n := fmt.Sprint(r.IntN(40))
		switch r.IntN(20) {
		case 0:
			n = fmt.Sprint(r.IntN(math.MaxInt32))
		case 1, 2:
			if signs {
				n = "-" + n
			}
		}
		return n + fraction + letter
	}
	clock, fraction := "", ""
	if r.IntN(3) == 0 {
		fraction = "." + fmt.Sprint(r.IntN(100000))
	}
	if clock = field("H", "") + field("M", "") + field("S", fraction); clock != "" {
		clock = "T" + clock
	}
	return "P" + field("Y", "") + field("M", "") + field("W", "") + field("D", "") + clock
}

func randomStart(r *rand.Rand) string {
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	year := jodaFirstYear + 1 + r.IntN(jodaLastYear-jodaFirstYear-1)
	date := pick("", fmt.Sprint(year), fmt.Sprintf("%d-%02d", year, 1+r.IntN(13)), fmt.Sprintf("%d-%d-%d", year, 1+r.IntN(12), 1+r.IntN(31)),
		fmt.Sprintf("%d-%02d-%02d", year, 1+r.IntN(12), 1+r.IntN(31)), fmt.Sprintf("%d-%03d", year, 1+r.IntN(367)),
		fmt.Sprintf("%d-W%02d", year, 1+r.IntN(53)), fmt.Sprintf("%d-W%02d-%d", year, 1+r.IntN(53), r.IntN(9)))
	clock := pick("", "", fmt.Sprintf("%02d", r.IntN(25)), fmt.Sprintf("%02d:%02d", r.IntN(24), r.IntN(60)),
		fmt.Sprintf("%02d:%02d:%02d", r.IntN(24), r.IntN(60), r.IntN(61)), fmt.Sprintf("%d:%d:%d", r.IntN(24), r.IntN(60), r.IntN(60)))
	if clock != "" && r.IntN(3) == 0 {
		clock += pick(".", ",") + fmt.Sprint(r.Int64N(1e10)>>r.IntN(34))
	}
	offset := pick("", "Z", "z", fmt.Sprintf("+%02d", r.IntN(24)), fmt.Sprintf("-%02d:%02d", r.IntN(24), r.IntN(60)),
		fmt.Sprintf("+%02d%02d", r.IntN(25), r.IntN(61)), fmt.Sprintf("-%02d:%02d:%02d", r.IntN(24), r.IntN(60), r.IntN(60)))
	if date != "" && clock+offset == "" {
		return date
	}
	return date + "T" + clock + offset
}

// mutate changes a character of every third text.
func mutate(r *rand.Rand, text string) string {
	if r.IntN(3) > 0 || text == "" {
		return text
	}
	const alphabet = "0123456789-+:.,TZWPYMDHStzwpyd "
	i := r.IntN(len(text))
	c := alphabet[r.IntN(len(alphabet))]
	switch r.IntN(3) {
	case 0:
		return text[:i] + text[i+1:]
	case 1:
		return text[:i] + string(c) + text[i:]
	}
	return text[:i] + string(c) + text[i+1:]
}

// randomChange returns an instant near one at which a zone's clocks change.
func randomChange(r *rand.Rand) (time.Time, *time.Location) {
	loc, _ := loadZone(jodaZones[r.IntN(len(jodaZones))])
	for {
		year := jodaFirstYear + 1 + r.IntN(jodaLastYear-jodaFirstYear-1)
		day := time.Date(year, 1, 1+r.IntN(365), 0, 0, 0, 0, time.UTC)
		_, ends, _ := zoneSpan(loc, day.Unix())
		at := time.Unix(ends, 0).UTC()
		if ends == math.MaxInt64 {
			at = day
		}
		if at.Year() > jodaFirstYear && at.Year() < jodaLastYear {
			return at.Add(time.Duration(r.IntN(4*12)-2*12) * 5 * time.Minute).In(loc), loc
		}
	}
}

func startNearChange(r *rand.Rand) string {
	at, loc := randomChange(r)
	text := time.UnixMilli(wallOf(at)).UTC().Format("2006-01-02T15:04:05")
	return "start\t" + text + []string{"", "Z", at.Format("Z07:00"), "+02:00", "-11:00"}[r.IntN(5)] + "\t" + loc.String()
}

// plusNearChange asks for a sum that comes out near a change of the clocks.
func plusNearChange(r *rand.Rand) string {
	for {
		at, loc := randomChange(r)
		text := []string{"P1D", "P1W", "P1M", "P1Y", "PT24H", "P3M2D", "P1DT1H", "PT90M", "P1M-1D", "P2W1DT-5H"}[r.IntN(10)]
		if r.IntN(3) == 0 {
			text = randomPeriod(r, true)
		}
		p, err := parsePeriod(text)
		if err != nil {
			continue
		}
		n := 1 + r.Int64N(40)
		if r.IntN(4) == 0 {
			n = 1
		}
		start, err := p.plus(at, -n)
		if err != nil || start.Year() <= jodaFirstYear || start.Year() >= jodaLastYear {
			continue
		}
		if r.IntN(2) == 0 {
			start = start.Add(time.Duration(r.IntN(72)-36) * time.Hour)
		}
		if end, err := p.plus(start, n); err == nil && end.Year() > jodaFirstYear && end.Year() < jodaLastYear {
			return fmt.Sprintf("plus\t%s\t%s\t%s\t%d", formatStart(start), loc, text, n)
		}
	}
}
