# Another city joins the running demo: the City of Koivula, a new member, becomes a client of Rannala's security server with a signing
# key of its own, is registered and approved, is given a right at Metsola's, and asks. Run in an empty folder, with `causeway` in the
# path and the environment that the demo wrote: `. causeway-demo/env`.
set -e

# At the central server: the member.
causeway cs -t central member add MUN:3001 "City of Koivula"

# At Rannala's security server: its subsystem, its signing key, the certificate of the demo's CA.
causeway ss -t ss-rannala client add MUN:3001:library --connection http -y
causeway ss -t ss-rannala key add --label koivula --usage sign --member DEMO:MUN:3001 \
    --ca "$(causeway ss -t ss-rannala ca list -q)" --field C=FI --field "O=City of Koivula" \
    --field serialNumber=DEMO/ss-rannala/MUN --field CN=3001 --field subjectAltName=koivula -o koivula.csr
curl -sSf --data-binary @koivula.csr "$DEMO_CA/signing" -o koivula.crt
causeway ss -t ss-rannala cert import koivula.crt

# The registration travels as a signed message to the central server, where somebody approves it.
causeway ss -t ss-rannala client register MUN:3001:library
causeway cs -t central request approve "$(causeway cs -t central request list --status waiting -q)"
until causeway ss -t ss-rannala client show MUN:3001:library | grep -q REGISTERED; do sleep 1; done

# At Metsola's security server: the right, as soon as it has heard of the new subsystem. Then the question.
until causeway ss -t ss-metsola access grant DEMO:MUN:1001:population:register --to MUN:3001:library; do sleep 1; done
curl -sSf -H 'X-Road-Client: DEMO/MUN/3001/library' \
    "$DEMO_RANNALA/r1/DEMO/MUN/1001/population/register/residents/M-2019-0502"
