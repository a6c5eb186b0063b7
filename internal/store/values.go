package store

import "time"

// Micros is an instant in UTC microseconds since 1970; zero is "none". It is what time columns hold on every dialect: PostgreSQL
// would keep microseconds anyway, and SQLite would keep the caller's zone as text and sort by it.
type Micros int64

// At converts t; the zero time is zero.
func At(t time.Time) Micros {
	if t.IsZero() {
		return 0
	}
	return Micros(t.UnixMicro())
}

// Time converts back; zero is the zero time.
func (m Micros) Time() time.Time {
	if m == 0 {
		return time.Time{}
	}
	return time.UnixMicro(int64(m)).UTC()
}

// Add moves m by d.
func (m Micros) Add(d time.Duration) Micros { return m + Micros(d.Microseconds()) }

// alphabet is Crockford's base 32: no I, L, O, U.
const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// idLength is the count of base-32 characters of 128 bits.
const idLength = 26

// NewID makes a public id: prefix, underscore, and the 26 Crockford characters of a UUIDv7 (RFC 9562, 5.7). It is stored as that
// text: readable in a database shell, ordered by time, and the same on every dialect.
func NewID(prefix string, now Micros, random func([]byte)) string {
	var u [16]byte
	random(u[6:])
	ms := uint64(now) / 1000
	for i := range 6 {
		u[i] = byte(ms >> (40 - 8*i))
	}
	u[6] = u[6]&0x0f | 0x70
	u[8] = u[8]&0x3f | 0x80
	return prefix + "_" + crockford(u)
}

func crockford(u [16]byte) string {
	var out [idLength]byte
	var acc uint32
	bits, next := 2, 0 // 26 characters carry 130 bits: two leading zeros
	for _, b := range u {
		acc = acc<<8 | uint32(b)
		bits += 8
		for bits >= 5 {
			bits -= 5
			out[next] = alphabet[acc>>bits&31]
			next++
		}
	}
	return string(out[:])
}
