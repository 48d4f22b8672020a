#!/usr/bin/env bash
# The mail programs that tests/clients drive: Debian's packages (as root, where apt-get is), nodemailer into .node/.
# Never fails: prints a line for each thing that can't be had, and the tests of that thing are skipped.
cd "$(dirname "$0")/../.." || exit 0
clients=tests/clients

declare -A package=(
  [swaks]=swaks [msmtp]=msmtp [curl]=curl [s-nail]=s-nail [git-email]=/usr/lib/git-core/git-send-email
  [libio-socket-ssl-perl]=perl:IO::Socket::SSL [libauthen-sasl-perl]=perl:Authen::SASL
  [libmime-tools-perl]=perl:MIME::Parser
  [libmail-deliverystatus-bounceparser-perl]=perl:Mail::DeliveryStatus::BounceParser
  [libmail-dkim-perl]=perl:Mail::DKIM::Verifier
  [libsasl2-modules]='/usr/lib/*/sasl2/libplain.so' [openssl]=openssl [gpg]=gpg
)
# These start a service where an init system runs, and that is not ours to do.
declare -A service=([postfix]=/usr/sbin/postfix [opendkim]=/usr/sbin/opendkim [sasl2-bin]=/usr/sbin/saslpasswd2)

here() { # a program, a file by its pattern, or a Perl module
  case $1 in
    perl:*) perl -M"${1#perl:}" -e 1 2>/dev/null ;;
    /*) compgen -G "$1" >/dev/null ;;
    *) command -v "$1" >/dev/null ;;
  esac
}

missing=()
for name in "${!package[@]}"; do here "${package[$name]}" || missing+=("$name"); done
for name in "${!service[@]}"; do
  here "${service[$name]}" && continue
  if [ -d /run/systemd/system ]; then
    echo "clients: $name is not installed, and not installed by us: its package would start a service here"
  else
    missing+=("$name")
  fi
done

if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "clients: installing ${missing[*]} (once) ..."
    export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 # RUNLEVEL: packages' scripts start no service
    log=$(mktemp)
    get=(apt-get -qq -o Acquire::Retries=0 -o Acquire::http::Timeout=10 -o Acquire::https::Timeout=10)
    timeout 60 "${get[@]}" update >"$log" 2>&1
    # All at once; if that can't be, what can, but no waiting for a mirror that doesn't answer.
    timeout 180 "${get[@]}" install -y --no-install-recommends "${missing[@]}" >>"$log" 2>&1 || {
      for name in "${missing[@]}"; do
        [ $SECONDS -lt 200 ] && timeout 60 "${get[@]}" install -y --no-install-recommends "$name" >"$log" 2>&1 ||
          echo "clients: $name cannot be had: $(grep -m 1 '^E: ' "$log" || echo 'no answer in time')"
      done
    }
    rm -f "$log"
  else
    echo "clients: not here, and only root with apt-get could install them: ${missing[*]}"
  fi
fi

if ! command -v npm >/dev/null; then
  echo "clients: nodemailer cannot be had: no npm"
elif ! cmp -s $clients/nodemailer/package-lock.json .node/package-lock.json || [ ! -d .node/node_modules/nodemailer ]; then
  mkdir -p .node
  cp $clients/nodemailer/package.json .node/
  cp $clients/nodemailer/package-lock.json .node/package-lock.json
  said=$(timeout 120 npm ci --prefix .node --engine-strict --ignore-scripts --no-audit --no-fund --loglevel=error 2>&1) ||
    { rm -rf .node/node_modules; echo "clients: nodemailer cannot be had: $(echo "$said" | grep -v '^npm warn' | head -n 1)"; }
fi
exit 0
