"""The configuration of the tests' Postfix: postconf(5), master(5), regexp_table(5)."""

from __future__ import annotations

QUEUES = "active bounce corrupt defer deferred flush hold incoming private saved trace"
"""Folders that only its mail owner may use."""

MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/log
maillog_file_prefixes = {folder}

inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
myhostname = postfix.example
mydestination =
default_transport = error:this machine sends nothing
smtpd_peername_lookup = no
smtp_dns_support_level = disabled
fast_flush_domains =
local_recipient_maps =
alias_maps =
alias_database =

smtputf8_enable = {smtputf8}
message_size_limit = 50000000
mailbox_size_limit = 0
virtual_mailbox_limit = 0

# What came in is what is filed.
local_header_rewrite_clients =
always_add_missing_headers = no
append_dot_mydomain = no
append_at_myorigin = no
remote_header_rewrite_domain =
recipient_delimiter =

virtual_mailbox_domains = regexp:{folder}/config/domains
virtual_mailbox_maps = regexp:{folder}/config/mailboxes
virtual_mailbox_base = {folder}
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}

smtpd_relay_restrictions = reject_unauth_destination
smtpd_recipient_restrictions = check_recipient_access regexp:{folder}/config/recipients
smtpd_reject_unlisted_recipient = yes
smtpd_end_of_data_restrictions = check_recipient_access regexp:{folder}/config/verdicts

# Stricter than it is by default with a client on its own machine.
smtpd_forbid_unauth_pipelining = yes
smtpd_forbid_bare_newline = reject
smtpd_forbid_bare_newline_exclusions =

# As it is by default, but for the second that each further mistake of a client would cost.
smtpd_error_sleep_time = 0
in_flow_delay = 0
"""

MASTER_CF = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
virtual unix - n n - - virtual
error unix - - n - - error
retry unix - - n - - error
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""

TABLES = {
    "domains": r"/^(.+\.)?example(\.(com|net|org))?$/ yes",
    "mailboxes": "if !/^unlisted/\n/@/ inbox/\nendif",
    "recipients": (
        "/^gone/ 550 5.1.1 nobody of that name here any more\n"
        "/^full/ 450 4.2.0 the mailbox is full\n"
        "/^closing/ 421 4.3.2 this server goes to bed"
    ),
    "verdicts": "/^spam/ 554 5.7.1 we don't like it",
}
"""What it takes, and whom it refuses with which words."""
