// Package gogoproto stands in for the options of gogo's generator, which matter only when code is generated.
package gogoproto
