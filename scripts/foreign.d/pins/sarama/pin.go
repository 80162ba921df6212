// Package pin keeps Sarama and Toxiproxy in go.mod: both are built from their modules, nothing of ours.
package pin

import (
	_ "github.com/IBM/sarama"
	_ "github.com/Shopify/toxiproxy/v2"
)
