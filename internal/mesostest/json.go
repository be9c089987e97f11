package mesostest

import (
	"encoding/json"
	"reflect"
	"strings"
)

// JSON writes a message or its part as Mesos does: keys as in the protocol, values of enumerations by name, bytes in
// base64. The generated code for that is left out of the program, and so of the tests (internal/ffjson).
func JSON(message any) ([]byte, error) { return json.Marshal(plain(reflect.ValueOf(message))) }

// plain makes what encoding/json can write of a message: maps and lists with leaves.
func plain(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Invalid:
		return nil
	case reflect.Pointer, reflect.Interface:
		return plain(v.Elem())
	case reflect.Struct:
		object := make(map[string]any)
		for i := range v.NumField() {
			key, options, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
			if key != "" && key != "-" && (options != "omitempty" || !v.Field(i).IsZero()) {
				object[key] = plain(v.Field(i))
			}
		}
		return object
	case reflect.Map:
		if v.IsNil() {
			return nil
		}
		object := make(map[string]any)
		for i := v.MapRange(); i.Next(); {
			object[i.Key().String()] = plain(i.Value())
		}
		return object
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return v.Bytes()
		}
		list := make([]any, v.Len())
		for i := range list {
			list[i] = plain(v.Index(i))
		}
		return list
	}
	return v.Interface()
}

// ReadJSON reads a message that is written as JSON does, into what message points to.
func ReadJSON(text []byte, message any) error {
	return readInto(text, reflect.ValueOf(message).Elem())
}

func readInto(text []byte, v reflect.Value) error {
	switch {
	case string(text) == "null":
		return nil
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		return readInto(text, v.Elem())
	case v.Kind() == reflect.Struct:
		var object map[string]json.RawMessage
		if err := json.Unmarshal(text, &object); err != nil {
			return err
		}
		for i := range v.NumField() {
			key, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
			if value, ok := object[key]; ok && key != "-" {
				if err := readInto(value, v.Field(i)); err != nil {
					return err
				}
			}
		}
		return nil
	case v.Kind() == reflect.Map:
		var object map[string]json.RawMessage
		if err := json.Unmarshal(text, &object); err != nil {
			return err
		}
		v.Set(reflect.MakeMap(v.Type()))
		for key, value := range object {
			element := reflect.New(v.Type().Elem()).Elem()
			if err := readInto(value, element); err != nil {
				return err
			}
			v.SetMapIndex(reflect.ValueOf(key), element)
		}
		return nil
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() != reflect.Uint8:
		var list []json.RawMessage
		if err := json.Unmarshal(text, &list); err != nil {
			return err
		}
		v.Set(reflect.MakeSlice(v.Type(), len(list), len(list)))
		for i, value := range list {
			if err := readInto(value, v.Index(i)); err != nil {
				return err
			}
		}
		return nil
	}
	return json.Unmarshal(text, v.Addr().Interface())
}
