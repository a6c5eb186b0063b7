module github.com/partnerkit/partnerkit/examples/tink

go 1.26.0

require (
	github.com/partnerkit/partnerkit v0.0.0
	github.com/tink-crypto/tink-go/v2 v2.9.0
	gorm.io/driver/sqlite v1.6.0
	gorm.io/gorm v1.31.2
)

require (
	github.com/alexedwards/argon2id v1.0.0 // indirect
	github.com/bojanz/currency v1.3.1 // indirect
	github.com/ccojocar/zxcvbn-go v1.0.4 // indirect
	github.com/cockroachdb/apd/v3 v3.2.1 // indirect
	github.com/jinzhu/inflection v1.0.0 // indirect
	github.com/jinzhu/now v1.1.5 // indirect
	github.com/mattn/go-sqlite3 v1.14.53 // indirect
	github.com/santhosh-tekuri/jsonschema/v6 v6.0.3 // indirect
	golang.org/x/crypto v0.59.0 // indirect
	golang.org/x/sys v0.50.0 // indirect
	golang.org/x/text v0.44.0 // indirect
	google.golang.org/protobuf v1.36.11 // indirect
)

replace github.com/partnerkit/partnerkit => ../..
