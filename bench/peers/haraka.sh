#!/bin/sh
# Haraka as a submission server that discards, set up in DIR: haraka.sh DIR NODE_MODULES PORT CERT KEY USER PASSWORD
set -e
mkdir -p "$1/config" "$1/plugins"
cd "$1"
ln -s "$2" node_modules
cp "$2/Haraka/config/connection.ini" config/ # Haraka 3.3 fails on the first connection without it
printf 'listen=127.0.0.1:%s\nnodes=0\n' "$3" > config/smtp.ini
printf 'tls\nauth/flat_file\ndiscard\n' > config/plugins
printf '[main]\nlevel=error\n' > config/log.ini
echo peer.bench.example > config/me
printf 'key=%s\ncert=%s\n' "$5" "$4" > config/tls.ini
openssl dhparam -dsaparam -out config/dhparams.pem 2048 2>/dev/null # else it makes one meanwhile, at much CPU
printf '[core]\nmethods=PLAIN\n[users]\n%s=%s\n' "$6" "$7" > config/auth_flat_file.ini
cat > plugins/discard.js <<'JS'
exports.hook_rcpt = (next, connection) => next(connection.relaying ? OK : DENY)
exports.hook_queue = (next) => next(OK)
exports.hook_queue_outbound = (next) => next(OK)
JS
exec node "$2/Haraka/bin/haraka" -c "$1"
