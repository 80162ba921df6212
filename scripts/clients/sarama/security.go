package main

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"errors"
	"fmt"
	"hash"
	"time"

	"github.com/IBM/sarama"
	"github.com/xdg-go/scram"
	"kafscale/clients/gosuite"
)

// scramClient is how the examples of this library bring SCRAM.
type scramClient struct {
	hash         scram.HashGeneratorFcn
	conversation *scram.ClientConversation
}

func (s *scramClient) Begin(user, password, authzID string) error {
	client, err := s.hash.NewClient(user, password, authzID)
	if err == nil {
		s.conversation = client.NewConversation()
	}
	return err
}

func (s *scramClient) Step(challenge string) (string, error) { return s.conversation.Step(challenge) }

func (s *scramClient) Done() bool { return s.conversation.Done() }

type token string

func (t token) Token() (*sarama.AccessToken, error) {
	return &sarama.AccessToken{Token: string(t), Extensions: map[string]string{"traceId": "seven"}}, nil
}

func secured(c gosuite.SecurityCase) *sarama.Config {
	conf := sarama.NewConfig()
	conf.Version = sarama.MaxVersion
	conf.Producer.Return.Successes = true
	conf.Producer.Partitioner = sarama.NewManualPartitioner
	conf.Net.TLS.Enable, conf.Net.TLS.Config = true, c.TLS()
	if c.Mechanism == "" {
		return conf
	}
	sasl := &conf.Net.SASL
	sasl.Enable, sasl.Mechanism = true, sarama.SASLMechanism(c.Mechanism)
	sasl.User, sasl.Password = c.User, c.Password
	with := func(hash func() hash.Hash) func() sarama.SCRAMClient {
		return func() sarama.SCRAMClient { return &scramClient{hash: hash} }
	}
	switch c.Mechanism {
	case "SCRAM-SHA-256":
		sasl.SCRAMClientGeneratorFunc = with(sha256.New)
	case "SCRAM-SHA-512":
		sasl.SCRAMClientGeneratorFunc = with(sha512.New)
	case "OAUTHBEARER":
		sasl.TokenProvider = token(c.Token)
	}
	return conf
}

func securely(c gosuite.SecurityCase, values []string) (found []string, err error) {
	client, err := sarama.NewClient([]string{c.Address}, secured(c))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	producer, err := sarama.NewSyncProducerFromClient(client)
	if err != nil {
		return nil, err
	}
	defer producer.Close()
	for _, value := range values {
		message := &sarama.ProducerMessage{Topic: c.Topic, Value: sarama.StringEncoder(value)}
		if _, _, err := producer.SendMessage(message); err != nil {
			return nil, err
		}
	}
	consumer, err := sarama.NewConsumerFromClient(client)
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	partition, err := consumer.ConsumePartition(c.Topic, 0, sarama.OffsetOldest)
	if err != nil {
		return nil, err
	}
	defer partition.Close()
	late := time.After(20 * time.Second)
	for len(found) == 0 || found[len(found)-1] != values[len(values)-1] {
		select {
		case message := <-partition.Messages():
			found = append(found, string(message.Value))
		case <-late:
			return nil, fmt.Errorf("%d records after 20 s", len(found))
		}
	}
	return found, nil
}

func aboutWhat(err error) string {
	var untrusted *tls.CertificateVerificationError
	switch {
	case errors.Is(err, sarama.ErrSASLAuthenticationFailed):
		return "sasl"
	case errors.Is(err, sarama.ErrTopicAuthorizationFailed):
		return "topic"
	case errors.As(err, &untrusted), gosuite.IsAlert(err):
		return "tls"
	}
	return ""
}
