package peer

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// Key is a secret that the nodes of a cluster share.
type Key = [32]byte

// macSize is the length of the code at the end of an announcement.
const macSize = sha256.Size

// identity is how a node shows that it has the cluster's key, and how it knows others by that. Every key makes a
// certificate authority, the same one on every node; each process has a certificate of its own, which the authority
// of the first key has signed and the one of any key is trusted for. Without keys there is no identity, and everybody
// is believed.
type identity struct {
	macs        []Key
	certificate tls.Certificate
	roots       *x509.CertPool
}

// newIdentity returns nil without keys.
func newIdentity(keys []Key, node string) (*identity, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	id := &identity{roots: x509.NewCertPool()}
	for i, key := range keys {
		mac, err := derive(key, "announcement")
		if err != nil {
			return nil, err
		}
		id.macs = append(id.macs, mac)
		authority, signer, err := newAuthority(key)
		if err != nil {
			return nil, err
		}
		id.roots.AddCert(authority)
		if i == 0 {
			if id.certificate, err = newCertificate(authority, signer, node); err != nil {
				return nil, err
			}
		}
	}
	return id, nil
}

// derive gives a key for one purpose only.
func derive(key Key, purpose string) (Key, error) {
	out, err := hkdf.Key(sha256.New, key[:], nil, "understudy mirror "+purpose, len(key))
	if err != nil {
		return Key{}, fmt.Errorf("derive the key for %s: %w", purpose, err)
	}
	return Key(out), nil
}

// Certificates are good for ever: who may take part is decided by the keys, and the clocks of nodes may be wrong. So
// they are judged at a time of their own, too. The years are what other builds judge by their clocks.
var (
	notBefore = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	judgedAt  = time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC)
	notAfter  = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
)

// newAuthority makes the certificate authority of a key.
func newAuthority(key Key) (*x509.Certificate, ed25519.PrivateKey, error) {
	seed, err := derive(key, "authority")
	if err != nil {
		return nil, nil, err
	}
	signer := ed25519.NewKeyFromSeed(seed[:])
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "understudy mirror"}, NotBefore: notBefore, NotAfter: notAfter,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, signer.Public(), signer)
	if err != nil {
		return nil, nil, fmt.Errorf("make the cluster's authority: %w", err)
	}
	authority, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, fmt.Errorf("make the cluster's authority: %w", err)
	}
	return authority, signer, nil
}

// newCertificate makes a certificate that lives as long as this process.
func newCertificate(authority *x509.Certificate, signer ed25519.PrivateKey, node string) (tls.Certificate, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make this node's certificate: %w", err)
	}
	serial := make([]byte, 16)
	rand.Read(serial)
	template := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial), Subject: pkix.Name{CommonName: node}, NotBefore: notBefore, NotAfter: notAfter,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, authority, private.Public(), signer)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make this node's certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}, nil
}

// config is that of both ends. The other end is known by its certificate alone: addresses change, and mean nothing.
func (id *identity) config() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		Certificates:       []tls.Certificate{id.certificate},
		ClientAuth:         tls.RequireAnyClientCert,
		InsecureSkipVerify: true, // of the name; VerifyConnection does the rest for both ends
		VerifyConnection:   id.verify,
		// A connection is kept for long; tickets would only spare a handshake.
		SessionTicketsDisabled: true,
	}
}

func (id *identity) verify(state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("it shows no certificate")
	}
	_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{
		Roots: id.roots, CurrentTime: judgedAt,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	})
	return err
}

// seal ends an announcement with a code that only who has the key can make.
func (id *identity) seal(data []byte) []byte {
	if id == nil {
		return data
	}
	return append(data, mac(id.macs[0], data)...)
}

// open checks the code of an announcement and takes it off.
func (id *identity) open(data []byte) ([]byte, error) {
	if id == nil {
		return data, nil
	}
	if len(data) < macSize {
		return nil, dropf(dropForged, "no announcement of this cluster: it is too short to be authentic")
	}
	body, code := data[:len(data)-macSize], data[len(data)-macSize:]
	for _, key := range id.macs {
		if hmac.Equal(code, mac(key, body)) {
			return body, nil
		}
	}
	return nil, dropf(dropForged, "the announcement was not made with this cluster's key")
}

func mac(key Key, data []byte) []byte {
	h := hmac.New(sha256.New, key[:])
	h.Write(data)
	return h.Sum(nil)
}

// transport is the credentials of both ends of a connection. failed hears of handshakes that fail.
func (id *identity) transport(failed func(error)) credentials.TransportCredentials {
	if id == nil {
		return insecure.NewCredentials()
	}
	return &watchedCredentials{TransportCredentials: credentials.NewTLS(id.config()), failed: failed}
}

// watchedCredentials counts who is turned away.
type watchedCredentials struct {
	credentials.TransportCredentials
	failed func(error)
}

func (w *watchedCredentials) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secured, info, err := w.TransportCredentials.ClientHandshake(ctx, authority, conn)
	if err != nil && ctx.Err() == nil {
		w.failed(fmt.Errorf("%v is no node of this cluster, or has another key (failover.key.file): %w", conn.RemoteAddr(), err))
	}
	return secured, info, err
}

func (w *watchedCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secured, info, err := w.TransportCredentials.ServerHandshake(conn)
	if err != nil {
		w.failed(fmt.Errorf("%v was turned away: it is no node of this cluster, or has another key (failover.key.file): %w", conn.RemoteAddr(), err))
	}
	return secured, info, err
}

func (w *watchedCredentials) Clone() credentials.TransportCredentials {
	return &watchedCredentials{TransportCredentials: w.TransportCredentials.Clone(), failed: w.failed}
}
