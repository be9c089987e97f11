// Package sortkeys sorts the keys of maps, so that they are always written in the same order.
package sortkeys

import "slices"

// Strings sorts strings.
func Strings(keys []string) { slices.Sort(keys) }
