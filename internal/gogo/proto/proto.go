// Package proto is as much of gogo's package as mesos-go's generated messages use. They write and read themselves
// and need no registers of types; gogo's would keep every message and all of its methods in the program, used or not.
package proto

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
)

// GoGoProtoPackageIsVersion2 is what generated code asserts that it fits.
const GoGoProtoPackageIsVersion2 = true

// A Message is a generated message.
type Message interface {
	Reset()
	String() string
	ProtoMessage()
}

// A Marshaler writes itself.
type Marshaler interface {
	Marshal() ([]byte, error)
}

// An Unmarshaler reads itself.
type Unmarshaler interface {
	Unmarshal([]byte) error
}

// Marshal writes a message.
func Marshal(m Message) ([]byte, error) { return m.(Marshaler).Marshal() }

// RegisterType registers nothing. It is empty so that the compiler drops the call, and with it the conversion to an
// interface for which the linker would have to keep the type's methods.
func RegisterType(Message, string) {}

// RegisterEnum registers nothing, see RegisterType.
func RegisterEnum(string, map[int32]string, map[string]int32) {}

// RegisterFile registers nothing, see RegisterType.
func RegisterFile(string, []byte) {}

// A RequiredNotSetError tells of a message without a field that it must have.
type RequiredNotSetError struct{ field string }

// NewRequiredNotSetError returns the error for a field.
func NewRequiredNotSetError(field string) *RequiredNotSetError { return &RequiredNotSetError{field} }

func (e *RequiredNotSetError) Error() string {
	return fmt.Sprintf("proto: required field %q not set", e.field)
}

// Clone returns a deep copy of a message, which must have all of its required fields.
func Clone(m Message) Message {
	clone := reflect.New(reflect.TypeOf(m).Elem()).Interface().(Message)
	text, err := m.(Marshaler).Marshal()
	if err == nil {
		err = clone.(Unmarshaler).Unmarshal(text)
	}
	if err != nil {
		panic(fmt.Sprintf("copy %T: %v", m, err))
	}
	return clone
}

// MarshalJSONEnum writes a value by its name, or as a number in quotes if it has none.
func MarshalJSONEnum(names map[int32]string, value int32) ([]byte, error) {
	name, ok := names[value]
	if !ok {
		name = strconv.Itoa(int(value))
	}
	return json.Marshal(name)
}

// UnmarshalJSONEnum reads the name of a value.
func UnmarshalJSONEnum(values map[string]int32, data []byte, enum string) (int32, error) {
	var name string
	if err := json.Unmarshal(data, &name); err != nil {
		return 0, fmt.Errorf("read a value of %s: %w", enum, err)
	}
	value, ok := values[name]
	if !ok {
		return 0, fmt.Errorf("%s has no value %q", enum, name)
	}
	return value, nil
}
