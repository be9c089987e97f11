// Package v1 stands in for what the JSON code of mesos-go's messages is built on. That code is never called: calls and
// events are protobuf. Nothing here can be used, and the compiler sees that: behind the first call it drops all of it.
package v1

// unsupported is what the JSON of a message ends with.
const unsupported = "messages of Mesos have no JSON here: convert what is needed to a type of its own"

// An EncodingBuffer would take a message's JSON.
type EncodingBuffer = *Buffer

// A Buffer would hold a message's JSON.
type Buffer struct{}

// The methods of a Buffer panic: see unsupported.
func (*Buffer) Bytes() []byte                   { panic(unsupported) }
func (*Buffer) Encode(any) error                { panic(unsupported) }
func (*Buffer) Rewind(int) error                { panic(unsupported) }
func (*Buffer) Write([]byte) (n int, err error) { panic(unsupported) }
func (*Buffer) WriteByte(byte) error            { panic(unsupported) }
func (*Buffer) WriteString(string) (int, error) { panic(unsupported) }
func (*Buffer) String() string                  { panic(unsupported) }
func (*Buffer) Len() int                        { panic(unsupported) }

// An FFLexer would read a message's JSON.
type FFLexer struct {
	Output   Buffer
	BigError error
	Error    FFErr
}

// NewFFLexer panics: see unsupported.
func NewFFLexer([]byte) *FFLexer { panic(unsupported) }

// The methods of an FFLexer are never reached, for there is none.
func (*FFLexer) Scan() FFTok                        { panic(unsupported) }
func (*FFLexer) SkipField(FFTok) error              { panic(unsupported) }
func (*FFLexer) CaptureField(FFTok) ([]byte, error) { panic(unsupported) }
func (*FFLexer) WrapErr(error) error                { panic(unsupported) }

// An FFErr would be what is wrong with a JSON text.
type FFErr int

// ToError panics: see unsupported.
func (FFErr) ToError() error { panic(unsupported) }

// An FFParseState is a state of generated parsers.
type FFParseState int

// The states.
const (
	FFParse_map_start FFParseState = iota
	FFParse_want_key
	FFParse_want_colon
	FFParse_want_value
	FFParse_after_value
)

// An FFTok is a token of JSON.
type FFTok int

// The tokens.
const (
	FFTok_init FFTok = iota
	FFTok_bool
	FFTok_colon
	FFTok_comma
	FFTok_double
	FFTok_error
	FFTok_integer
	FFTok_left_brace
	FFTok_left_bracket
	FFTok_null
	FFTok_right_brace
	FFTok_right_bracket
	FFTok_string
)

// The functions are never reached, for there is nothing to read from or write to.
func AppendFloat(EncodingBuffer, float64, byte, int, int) { panic(unsupported) }
func AsciiEqualFold(_, _ []byte) bool                     { panic(unsupported) }
func EqualFoldRight(_, _ []byte) bool                     { panic(unsupported) }
func FormatBits2(EncodingBuffer, uint64, int, bool)       { panic(unsupported) }
func ParseFloat([]byte, int) (float64, error)             { panic(unsupported) }
func ParseInt([]byte, int, int) (int64, error)            { panic(unsupported) }
func ParseUint([]byte, int, int) (uint64, error)          { panic(unsupported) }
func SimpleLetterEqualFold(_, _ []byte) bool              { panic(unsupported) }
func WriteJsonString(EncodingBuffer, string)              { panic(unsupported) }
