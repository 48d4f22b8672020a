#!/bin/sh
# Postfix as a submission server, set up in DIR, as root: postfix.sh DIR PORT CERT KEY USER PASSWORD [SINK [REUSE]]. It
# queues durably; then it discards, or passes on to SINK, such as [127.0.0.1]:2525, by TLS where that is offered. REUSE:
# yes keeps TLS connections for more than one message (by default it doesn't).
set -e
if [ -n "$7" ]; then transport="smtp:$7"; else transport=discard:; fi
dir=$1
mkdir -p "$dir/etc/sasl" "$dir/spool" "$dir/data"
chmod 755 "$dir" "$dir/etc" "$dir/spool"
chown postfix "$dir/data"
cat > "$dir/etc/main.cf" <<CF
compatibility_level = 3.6
queue_directory = $dir/spool
data_directory = $dir/data
mail_owner = postfix
setgid_group = postdrop
myhostname = peer.bench.example
mydestination =
local_recipient_maps =
alias_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 192.0.2.1/32
message_size_limit = 41943040
mailbox_size_limit = 0
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_client_message_rate_limit = 0
smtpd_peername_lookup = no
smtpd_timeout = 600s
maillog_file = $dir/maillog
maillog_file_prefixes = $dir
smtpd_tls_security_level = encrypt
smtpd_tls_auth_only = yes
smtpd_tls_chain_files = $4, $3
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = cyrus
smtpd_sasl_path = smtpd
cyrus_sasl_config_path = $dir/etc/sasl
smtpd_relay_restrictions = permit_sasl_authenticated, reject
default_transport = $transport
smtp_tls_security_level = may
smtp_tls_connection_reuse = ${8:-no}
smtp_host_lookup = native
CF
cat > "$dir/etc/master.cf" <<CF
127.0.0.1:$2 inet n - n - 2200 smtpd
postlog   unix-dgram n - n - 1 postlogd
pickup    unix  n - n 60 1 pickup
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
tlsmgr    unix  - - n 1000? 1 tlsmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
proxymap  unix  - - n - - proxymap
error     unix  - - n - - error
retry     unix  - - n - - error
discard   unix  - - n - 40 discard
smtp      unix  - - n - - smtp
scache    unix  - - n - 1 scache
tlsproxy  unix  - - n - 0 tlsproxy
anvil     unix  - - n - 1 anvil
CF
printf 'pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: %s\nmech_list: PLAIN\n' \
  "$dir/etc/sasl/sasldb2" > "$dir/etc/sasl/smtpd.conf"
echo "$6" | saslpasswd2 -p -c -f "$dir/etc/sasl/sasldb2" -u "${5#*@}" "${5%@*}"
chown postfix "$dir/etc/sasl/sasldb2"
exec postfix -c "$dir/etc" start-fg
