package partner

// Inert is a text as a cell that no spreadsheet runs.
func Inert(cell string) string { return inert(cell) }

// SizeOfImage is the parser behind SetLogo, for the fuzzer: through the API each try would be a transaction.
func SizeOfImage(b []byte) (mediaType string, width, height int) { return sizeOfImage(b) }
