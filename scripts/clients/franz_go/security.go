package main

import (
	"context"
	"crypto/tls"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
	"kafscale/clients/gosuite"
)

func securely(c gosuite.SecurityCase, values []string) (found []string, err error) {
	ctx, cancel := context.WithTimeout(bg, 20*time.Second)
	defer cancel()
	options := []kgo.Opt{kgo.SeedBrokers(c.Address), kgo.DialTLSConfig(c.TLS()),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{c.Topic: {0: kgo.NewOffset().AtStart()}}),
		kgo.RecordPartitioner(kgo.ManualPartitioner())}
	switch c.Mechanism {
	case "PLAIN":
		options = append(options, kgo.SASL(plain.Auth{User: c.User, Pass: c.Password}.AsMechanism()))
	case "SCRAM-SHA-256":
		options = append(options, kgo.SASL(scram.Auth{User: c.User, Pass: c.Password}.AsSha256Mechanism()))
	case "SCRAM-SHA-512":
		options = append(options, kgo.SASL(scram.Auth{User: c.User, Pass: c.Password}.AsSha512Mechanism()))
	case "OAUTHBEARER":
		options = append(options, kgo.SASL(oauth.Auth{Token: c.Token,
			Extensions: map[string]string{"traceId": "seven"}}.AsMechanism()))
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	if err := client.Ping(ctx); err != nil {
		return nil, err
	}
	var records []*kgo.Record
	for _, value := range values {
		records = append(records, &kgo.Record{Topic: c.Topic, Value: []byte(value)})
	}
	if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return nil, err
	}
	last := values[len(values)-1]
	for len(found) == 0 || found[len(found)-1] != last {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return nil, err
		}
		fetches.EachRecord(func(record *kgo.Record) { found = append(found, string(record.Value)) })
	}
	return found, nil
}

func aboutWhat(err error) string {
	var untrusted *tls.CertificateVerificationError
	switch {
	// Whatever a broker says of a token, this library calls it unexpected.
	case errors.Is(err, kerr.SaslAuthenticationFailed), err.Error() == "unexpected data in oauth response":
		return "sasl"
	case errors.Is(err, kerr.TopicAuthorizationFailed):
		return "topic"
	case errors.As(err, &untrusted), gosuite.IsAlert(err):
		return "tls"
	}
	return ""
}
