// Package pin keeps franz-go in go.mod: its tests are built from the module, nothing of ours.
package pin

import _ "github.com/twmb/franz-go/pkg/kgo"
