package gosuite

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"
)

// SecurityCase is how a client connects, and what must come of it. See security/cases.py.
type SecurityCase struct {
	Name, Address, Topic, Ca, Cert, Key, Mechanism, User, Password, Token, Wanted string
}

// Records of a round trip, and how long a client may take to say what is wrong.
const (
	roundTrip   = 20
	refusalTime = 15 * time.Second
)

// TLS is what the case says of certificates.
func (c SecurityCase) TLS() *tls.Config {
	pem, err := os.ReadFile(c.Ca)
	OK(err, "read the authority")
	roots := x509.NewCertPool()
	Check(roots.AppendCertsFromPEM(pem), "no certificate in %s", c.Ca)
	conf := &tls.Config{RootCAs: roots, ServerName: "localhost"}
	if c.Cert != "" {
		own, err := tls.LoadX509KeyPair(c.Cert, c.Key)
		OK(err, "read the client's certificate")
		conf.Certificates = []tls.Certificate{own}
	}
	return conf
}

// IsAlert tells whether the broker has ended the handshake: the type of such errors has no name outside of Go's TLS.
func IsAlert(err error) bool { return strings.Contains(err.Error(), "remote error: tls:") }

// Security runs the cases of a file: exchange sends the values to partition 0 and gives all values of it, and kind
// tells what an error is about: sasl, tls or topic.
func Security(path string, exchange func(SecurityCase, []string) ([]string, error), kind func(error) string) {
	text, err := os.ReadFile(path)
	if err != nil {
		fmt.Println(err)
		os.Exit(2)
	}
	var cases []SecurityCase
	if err := json.Unmarshal(text, &cases); err != nil {
		fmt.Println(err)
		os.Exit(2)
	}
	suite := &Suite{Name: "security"}
	for _, each := range cases {
		suite.Case(each.Name, func() {
			var values []string
			for number := range roundTrip {
				values = append(values, fmt.Sprintf("%s-%d", Unique(each.Name), number))
			}
			begun := time.Now()
			found, err := exchange(each, values)
			if each.Wanted == "" {
				OK(err, "connect, produce and consume")
				Check(len(found) >= roundTrip, "%d records of %d", len(found), roundTrip)
				Equal(found[len(found)-roundTrip:], values, "records")
				return
			}
			Check(err != nil, "it was let in")
			took := time.Since(begun)
			Check(took < refusalTime, "it took %v to say: %v", took, err)
			Check(kind(err) == each.Wanted, "wanted an error about %s, found %v", each.Wanted, err)
			fmt.Println("refused:", err)
		})
	}
	suite.End()
}
