package partner

import (
	"bytes"
	"encoding/binary"
)

// golang.org/x/image/webp would bring another module and two decoders of pixels for the two numbers that a logo's check needs, and it knows
// no animated images; so the head of the file is read here, as RFC 9649 has it.

// sizeOfWebP reads the size in pixels of a WebP. The chunks up to the first one with pixels must be whole, and agree about it.
func sizeOfWebP(b []byte) (width, height int, ok bool) {
	name, body, ok := webpChunk(b)
	if !ok || name != "RIFF" || !bytes.HasPrefix(body, []byte("WEBP")) {
		return 0, 0, false
	}
	rest := body[4:]
	if name, body, ok = webpChunk(rest); !ok || name != "VP8X" {
		return sizeOfFrame(name, body)
	}
	if len(body) < 10 {
		return 0, 0, false
	}
	animated := body[0]&2 != 0
	width, height = 1+uint24(body[4:]), 1+uint24(body[7:]) // of the canvas
	for {
		rest = rest[min(len(rest), 8+len(body)+len(body)%2):]
		name, body, ok = webpChunk(rest)
		switch {
		case !ok:
			return 0, 0, false // it has no picture
		case animated && name == "ANMF" && len(body) >= 16:
			right, bottom := 2*uint24(body)+1+uint24(body[6:]), 2*uint24(body[3:])+1+uint24(body[9:])
			return width, height, right <= width && bottom <= height
		case !animated && (name == "VP8 " || name == "VP8L"):
			w, h, ok := sizeOfFrame(name, body)
			return width, height, ok && w == width && h == height
		}
	}
}

// webpChunk is the chunk that b begins with: its name, and its body, which must be all there.
func webpChunk(b []byte) (name string, body []byte, ok bool) {
	if len(b) < 8 {
		return "", nil, false
	}
	n := binary.LittleEndian.Uint32(b[4:])
	if uint64(n) > uint64(len(b)-8) {
		return "", nil, false
	}
	return string(b[:4]), b[8 : 8+n], true
}

// sizeOfFrame reads the head of a picture: of a key frame of VP8 (RFC 6386, 9.1), or of the lossless kind (RFC 9649, 3.4).
func sizeOfFrame(name string, b []byte) (width, height int, ok bool) {
	const side = 1<<14 - 1 // the bits of a side; VP8 has above them how to scale
	switch {
	case name == "VP8 " && len(b) >= 10 && b[0]&1 == 0 && string(b[3:6]) == "\x9d\x01\x2a":
		return int(binary.LittleEndian.Uint16(b[6:])) & side, int(binary.LittleEndian.Uint16(b[8:])) & side, true
	case name == "VP8L" && len(b) >= 5 && b[0] == 0x2f && b[4]>>5 == 0:
		bits := binary.LittleEndian.Uint32(b[1:])
		return 1 + int(bits&side), 1 + int(bits>>14&side), true
	}
	return 0, 0, false
}

func uint24(b []byte) int { return int(b[0]) | int(b[1])<<8 | int(b[2])<<16 }
