package partner

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/binary"
	"strings"
	"sync"
	"time"

	"github.com/partnerkit/partnerkit/internal/fail"
	"github.com/partnerkit/partnerkit/internal/store"
)

// Sealer is an AEAD of the host's, whose key the SDK never sees; tink.AEAD is one as it stands. It is called outside transactions: once when a
// Registry is opened, and for the first text that another process has sealed. Both methods may be called from several goroutines.
type Sealer interface {
	Encrypt(plaintext, associated []byte) ([]byte, error)
	Decrypt(ciphertext, associated []byte) ([]byte, error)
}

// sealing seals texts by envelope: with a data key of this process, made when the registry was opened, which stands wrapped by the host's
// sealer before each text. So nothing of the host's is called while a transaction is open, and a key service is asked once a process.
type sealing struct {
	host    Sealer
	key     cipher.AEAD
	wrapped string // the key, by the host's sealer

	mu      sync.Mutex
	refused time.Time              // when the host's sealer last was of no help
	others  map[string]cipher.AEAD // by their wrapped form
}

const (
	sealedPrefix = "sealed1:"
	maxOthers    = 256             // data keys of other processes that are remembered
	afterRefusal = 5 * time.Second // the sealer is not asked again
)

// dataKeyUse is what wrapped data keys are bound to.
var dataKeyUse = "partnerkit data key 1"

var (
	errSealerBroken = fail.New(fail.Invalid, "Options.Sealer does not give back what it sealed")
	errSealerAway   = fail.New(fail.Unavailable, "Options.Sealer does not open what it sealed")
	errUnsealed     = fail.New(fail.Unavailable, "what was sealed cannot be opened")
)

// newSealing makes the data key and tries the sealer on it; nil without a sealer.
func newSealing(host Sealer, random func([]byte)) (*sealing, error) {
	if host == nil {
		return nil, nil
	}
	key := make([]byte, 32)
	random(key)
	wrapped, err := host.Encrypt(key, []byte(dataKeyUse))
	if err != nil {
		return nil, fail.Because(fail.Unavailable, "seal with Options.Sealer", err)
	}
	if len(wrapped) > 0xffff || strings.Contains(string(wrapped), string(key)) {
		return nil, errSealerBroken
	}
	s := &sealing{host: host, wrapped: string(wrapped), others: map[string]cipher.AEAD{}}
	back, err := host.Decrypt(wrapped, []byte(dataKeyUse))
	if err != nil || string(back) != string(key) {
		return nil, errSealerBroken
	}
	s.key, err = aeadOf(key)
	return s, err
}

// aeadOf is AES-256-GCM, which picks a nonce itself.
func aeadOf(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, errSealerBroken
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// seal returns text so that only open with the same use gives it back.
func (s *sealing) seal(text, use string) string {
	b := binary.BigEndian.AppendUint16(nil, uint16(len(s.wrapped)))
	b = append(b, s.wrapped...)
	b = s.key.Seal(b, nil, []byte(text), []byte(use))
	return sealedPrefix + base64.RawStdEncoding.EncodeToString(b)
}

// isSealed tells whether a stored text is a sealed one.
func isSealed(text string) bool { return strings.HasPrefix(text, sealedPrefix) }

// open gives back a sealed text; it may ask the host's sealer and must not run inside a transaction.
func (s *sealing) open(sealed, use string) (string, error) {
	text, prefixed := strings.CutPrefix(sealed, sealedPrefix)
	b, err := base64.RawStdEncoding.DecodeString(text)
	if s == nil || !prefixed || err != nil || len(b) < 2 {
		return "", errUnsealed
	}
	n := int(binary.BigEndian.Uint16(b))
	if len(b) < 2+n {
		return "", errUnsealed
	}
	key, err := s.keyBehind(string(b[2 : 2+n]))
	if err != nil {
		return "", err
	}
	plain, err := key.Open(nil, nil, b[2+n:], []byte(use))
	if err != nil {
		return "", errUnsealed
	}
	return string(plain), nil
}

// keyBehind is the data key that was wrapped.
func (s *sealing) keyBehind(wrapped string) (cipher.AEAD, error) {
	if wrapped == s.wrapped {
		return s.key, nil
	}
	s.mu.Lock() // one after the other: they ask for the same key, as a rule
	defer s.mu.Unlock()
	if known, found := s.others[wrapped]; found {
		return known, nil
	}
	if time.Since(s.refused) < afterRefusal {
		return nil, errSealerAway
	}
	key, err := s.host.Decrypt([]byte(wrapped), []byte(dataKeyUse))
	if err != nil {
		s.refused = time.Now()
		return nil, errSealerAway
	}
	made, err := aeadOf(key)
	if err != nil {
		return nil, errUnsealed
	}
	if len(s.others) >= maxOthers {
		clear(s.others)
	}
	s.others[wrapped] = made
	return made, nil
}

// keySource draws a data key from the registry's randomness.
func keySource(db *store.DB) func([]byte) { return func(b []byte) { store.Random(db, b) } }
