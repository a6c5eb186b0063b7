package partner

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"

	"github.com/alexedwards/argon2id"
	"github.com/partnerkit/partnerkit/internal/fail"
	"github.com/partnerkit/partnerkit/internal/store"
	"golang.org/x/text/unicode/norm"
)

const (
	// hashesAtOnce bounds memory: a hash takes 46 MiB.
	hashesAtOnce = 4
	// maxPassword is the longest password that is hashed, in bytes; a longer one is refused before it costs anything.
	maxPassword = 4096
)

// argon2Params are the strictest of the equivalent choices in OWASP ASVS 5.0, appendix C.
var argon2Params = argon2id.Params{Memory: 46 * 1024, Iterations: 1, Parallelism: 1, SaltLength: 16, KeyLength: 32}

// argon2idHasher is the default PasswordHasher.
type argon2idHasher struct{}

// Hash implements PasswordHasher.
func (argon2idHasher) Hash(_ context.Context, password []byte) (string, error) {
	p := argon2Params
	return argon2id.CreateHash(string(password), &p)
}

// maxHashMemory refuses a stored hash that would take more than 1 GiB to check, in KiB.
const maxHashMemory = 1 << 20

// Verify implements PasswordHasher; a hash of weaker parameters should be renewed.
func (argon2idHasher) Verify(_ context.Context, hash string, password []byte) (ok, renew bool, err error) {
	p, _, _, err := argon2id.DecodeHash(hash)
	if err != nil {
		return false, false, fmt.Errorf("partner: stored password hash: %w", err)
	}
	if p.Memory > maxHashMemory {
		return false, false, errors.New("partner: stored password hash asks for too much memory")
	}
	ok, err = argon2id.ComparePasswordAndHash(string(password), hash)
	weaker := p.Memory < argon2Params.Memory || p.Iterations < argon2Params.Iterations || p.KeyLength < argon2Params.KeyLength
	return ok, ok && weaker, err
}

// dummyHash is compared against when there is no such log-in, so that an unknown name costs what a wrong password does.
type dummyHash struct {
	mu   sync.Mutex
	hash string
}

// get computes it on the first call, whatever its name, so that the cost tells nothing; a hasher that fails is asked again.
func (d *dummyHash) get(ctx context.Context, r *Registry) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.hash == "" {
		var random [24]byte
		store.Random(r.db, random[:])
		hash, err := r.opts.Hasher.Hash(context.WithoutCancel(ctx), []byte(base64.RawURLEncoding.EncodeToString(random[:])))
		if err != nil {
			return "", fail.Because(fail.Unavailable, "hash the password", err)
		}
		d.hash = hash
	}
	return d.hash, nil
}

// hash computes the hash of a password; it waits for a place, and must not run inside a transaction.
func (r *Registry) hash(ctx context.Context, password Secret) (string, error) {
	leave, err := r.hashPlace(ctx)
	if err != nil {
		return "", err
	}
	defer leave()
	h, err := r.opts.Hasher.Hash(ctx, passwordBytes(password))
	if err != nil {
		return "", fail.Because(fail.Unavailable, "hash the password", err)
	}
	return h, nil
}

// verify compares; an empty hash, as of an unknown name, costs the same and never matches.
func (r *Registry) verify(ctx context.Context, hash string, password Secret) (ok, renew bool, err error) {
	leave, err := r.hashPlace(ctx)
	if err != nil {
		return false, false, err
	}
	defer leave()
	dummy, err := r.dummy.get(ctx, r)
	if err != nil {
		return false, false, err
	}
	known := hash != ""
	if !known {
		hash = dummy
	}
	ok, renew, err = r.opts.Hasher.Verify(ctx, hash, passwordBytes(password))
	if err != nil {
		return false, false, fail.Because(fail.Unavailable, "check the password", err)
	}
	return ok && known, ok && known && renew, nil
}

func (r *Registry) hashPlace(ctx context.Context) (leave func(), err error) {
	select {
	case r.hashes <- struct{}{}:
		return func() { <-r.hashes }, nil
	case <-ctx.Done():
		return nil, fail.Because(fail.Unavailable, "the call ended before its work", ctx.Err())
	}
}

// passwordBytes normalises, because two keyboards may compose the same character differently (NIST SP 800-63B, 5.1.1.2).
func passwordBytes(p Secret) []byte { return norm.NFC.Bytes([]byte(p)) }

// newToken makes a 256-bit token; its digest is what is stored.
func newToken(db *store.DB) string {
	var b [32]byte
	store.Random(db, b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// generatedPassword has 130 bits in letters and digits that are easy to read aloud.
func generatedPassword(db *store.DB) Secret {
	var b [26]byte
	store.Random(db, b[:])
	const letters = "abcdefghjkmnpqrstuvwxyz023456789"
	for i := range b {
		b[i] = letters[b[i]&31]
	}
	return Secret(b[:])
}
