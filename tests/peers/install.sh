#!/usr/bin/env bash
# The mail servers that tests/peers delivers to. Postfix comes with tests/clients/install.sh; Debian's Exim, which can't
# be installed beside it, is unpacked into .local/peers/ with the libraries it wants, and only its user is set up.
# Never fails: prints a line for what can't be had, and the tests of that are skipped.
cd "$(dirname "$0")/../.." || exit 0
peers=.local/peers
exim=$peers/usr/sbin/exim4

user() { # whom the package's set-up would make; Debian's Exim doesn't start where nobody has that name
  id Debian-exim >/dev/null 2>&1 && return
  { [ "$(id -u)" = 0 ] && useradd --system --no-create-home --shell /usr/sbin/nologin Debian-exim; } 2>/dev/null ||
    echo "peers: exim cannot run: there is no user Debian-exim, and only root could make one"
}

[ -x $exim ] && { user; exit 0; }
if ! command -v apt-get >/dev/null; then
  echo "peers: exim cannot be had: no apt-get"
  exit 0
fi
packages=$(mktemp -d)
get=(timeout 60 apt-get -qq -o Acquire::Retries=0 -o Acquire::http::Timeout=10 -o Acquire::https::Timeout=10)
if ! apt-cache show exim4-daemon-light >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
  "${get[@]}" update >/dev/null 2>&1
fi
echo "peers: unpacking exim (once) ..."
wanted=(exim4-daemon-light)
for name in $(apt-cache depends exim4-daemon-light 2>/dev/null | sed -n 's/^  Depends: \(lib[a-z0-9.+-]*\)$/\1/p'); do
  case $name in libc6 | libcrypt1) ;; *) wanted+=("$name") ;; esac
done
if (cd "$packages" && "${get[@]}" download "${wanted[@]}") >"$packages/log" 2>&1; then
  mkdir -p $peers
  for package in "$packages"/*.deb; do dpkg -x "$package" $peers; done
  chmod u-s $exim # setuid programs ignore LD_LIBRARY_PATH
  user
else
  echo "peers: exim cannot be had: $(grep -m 1 '^E: ' "$packages/log" || echo 'no answer in time')"
fi
rm -rf "$packages"
exit 0
