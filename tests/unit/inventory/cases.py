"""One inventory for each kind of problem; the messages that they get stand in `messages.txt`."""

from __future__ import annotations

from pathlib import Path

from orchestrator.inventory.load import read_bytes
from orchestrator.inventory.problems import InventoryError
from tests.unit.inventory.texts import NAME, SMALL, with_host, with_vars

BOTH_LOCAL = with_host("ansible_connection: local").replace("primary", "primary, ansible_connection: local")
TWO_PAIRS = SMALL + SMALL.partition("children:\n")[2].replace("pair:", "other:")
LEASED = with_vars("mm_lease: {ttl: 8s}") + "        wit.example.org: {mm_place: witness, ansible_host: 192.0.2.9}\n"
TWO_LEASED = LEASED.replace(": {mm_place: pr", ": {ansible_host: 192.0.2.1, mm_place: pr").replace(
    "mm_place: mi", "ansible_host: 192.0.2.2, mm_place: mi"
) + LEASED.partition("children:\n")[2].replace("pair:", "other:").replace("one.", "three.").replace("two.", "four.")
"""Two pairs with one witness."""

CASES: dict[str, str | bytes] = {
    # the text
    "empty": "",
    "only a comment": "# nothing\n",
    "encrypted by vault": "$ANSIBLE_VAULT;1.1;AES256\n6162\n",
    "not UTF-8": b"mailmirror:\n  caf\xe9: 1\n",
    "a character that can't be seen": with_vars("mm_rpo:\u00a030s"),
    "a tab in the indentation": SMALL.replace("        mm_stores", "\tmm_stores").replace("        one", "\tone"),
    "a colon too many": with_vars("mm_rpo: 30s: 40s"),
    "an open quote": with_vars('mm_owner: "name'),
    "an open bracket": SMALL.replace("[/var/vmail]", "[/var/vmail"),
    "two documents": SMALL + "---\n" + SMALL,
    "undefined anchors": with_vars("mm_rpo: &a 30s", "mm_audit: *b", "mm_verify: *c"),
    "an anchor inside itself": "mailmirror: &a {children: *a}\n",
    "nested too deeply": "[" * 500,
    "aliases that swell": "".join(f"k{n}: &k{n} [{', '.join([f'*k{n - 1}'] * 9) if n else 1}]\n" for n in range(9)),
    # the outline
    "a list at the top": "- a\n",
    "another group only": "mailmiror: {}\n",
    "no such group": "webservers: {}\n",
    "no pair": "mailmirror: {vars: {}}\n",
    "an empty pair": "mailmirror: {children: {pair: }}\n",
    "a pair's name that Ansible dislikes": SMALL.replace("pair:", "example-org:"),
    "hosts beside the pairs": SMALL + "  hosts: {}\n",
    "groups below a pair": SMALL + "      children: {}\n",
    "vars that are a list": SMALL.replace("        mm_stores: [", "        - mm_stores: ["),
    "both at the top and below all": SMALL + "all: {children: {mailmirror: {}}}\n",
    "a range of hosts": SMALL.replace("two.example", "two[1:3].example"),
    # keys
    "an unknown key": with_vars("mm_undelet: 7d", "frobnicate: 1"),
    "an unknown key in a record": with_vars("mm_delete_budget: {acount_messages: 1}"),
    "an unknown key below a list": SMALL.replace("[/var/vmail]", "[{root: /a, acounts: x}, {accounts: y}]"),
    "a record that is known by all its keys": with_vars("mm_services: {lmtp: dovecot}"),
    "a key of Ansible's that may hold a secret": with_host("ansible_become_password: hunter2"),
    "duplicate keys": with_vars("mm_rpo: 30s", "mm_rpo: 40s"),
    "a host's key at the pair": with_vars("mm_place: primary"),
    "a pair's key at a host": with_host("mm_rpo: 30s"),
    "a key without a value": with_vars("mm_rpo:"),
    "keys that aren't text": with_vars("30: x", "no: y"),
    "a place that is missing": SMALL.replace("{mm_place: mirror}", ""),
    # values
    "truth values": with_host("mm_forced: NO, mm_ssh_agent: 'true'"),
    "base 60": with_vars("mm_windows: [{name: x, start: 22:30, length: 1h}]"),
    "octal": with_vars("mm_listen: 0750"),
    "a date": with_vars("mm_owner: 2026-11-24"),
    "a tag": with_vars("mm_rpo: !vault x", "mm_audit: !!int 3", "mm_owner: !file x"),
    "a template": with_vars('mm_rpo: "{{ rpo }}"', "mm_audit: {{ audit }}"),
    "the wrong kind": with_vars("mm_stores: /srv", "mm_services: [postfix]", "mm_listen: 9464", "mm_watch: 1").replace(
        "        mm_stores: [/var/vmail]\n", ""
    ),
    "a port in quotes": with_host('ansible_port: "22"'),
    "a port out of range": with_host("ansible_port: 70000"),
    "not one of the options": with_vars("mm_watch: inotfy", "mm_mode: never"),
    "units": with_vars("mm_rpo: 30", "mm_audit: soon", "mm_verify: 0s", "mm_bandwidth: 10Mb/s", "mm_undelete: -1d"),
    "roots": SMALL.replace("[/var/vmail]", "[mail, /, /srv/mail/, /srv/../etc]"),
    "an empty list of roots": SMALL.replace("[/var/vmail]", "[]"),
    "a budget of nothing": with_vars("mm_delete_budget: {account_messages: 0, store_percent: 101, within: 0s}"),
    "a secret in plain text": with_vars(
        "mm_dns: {server: 192.0.2.53, zone: example.org, names: [mail], tsig: c2VjcmV0, ttl: x}"
    ),
    "a secret by two references": with_vars(
        "mm_dns: {server: 192.0.2.53, zone: example.org, names: [mail], tsig: {file: /a, env: B}}"
    ),
    "commands that are none": with_vars(
        'mm_exec: {show: "ip show", point: [], env: {"A-B": {file: /a}, TOKEN: c2VjcmV0}}'
    ),
    "a record that lacks keys": with_vars("mm_vip: {addresses: [192.0.2.10]}"),
    "addresses that can't move": with_vars(
        "mm_vip: {addresses: [192.0.2.10/255.255.255.0, 192.0.2.0/24, 127.0.0.1/8, 192.0.2.11/40], interface: eth0}"
    ),
    "a device's password in plain text": with_host("mm_fence: [{agent: fence_apc, parameters: {password: hunter2}}]"),
    "a device of two kinds": with_host("mm_fence: [{agent: fence_apc, exec: {}}]"),
    "no fence agent": with_host("mm_fence: [{agent: apc, parameters: {action: status, Ip: x, plug: [1]}}]"),
    "a secret without a reference": with_host("mm_fence: [{agent: fence_apc, parameters: {password: {path: /a}}}]"),
    "commands of one text": with_host("mm_fence: [{exec: {switch_off: a b, status: [], says_off: x}, within: 1s}]"),
    "an unknown zone": with_vars("mm_windows: [{name: x, start: Sun 2:30, length: 1h, zone: Europe/Zurch}]"),
    "paths that aren't absolute": with_host("ansible_ssh_private_key_file: id, mm_known_hosts: ./known"),
    "units that can't be gated": with_vars("mm_units: [mail.timer, -x.service]", "mm_guard_port: 0"),
    "no address of a page": with_vars("mm_listen: 127.0.0.1:1", "mm_url: mailmirror.example.net/?a=b"),
    # laws
    "exchangers that can't follow": with_vars(
        "mm_dns: {server: 192.0.2.53, zone: example.org, names: [mail], tsig: {env: KEY}, "
        "mx: {name: other.org, active: 20, passive: 10}}"
    ).replace("one.example.org", "one"),
    "no mirror": SMALL.replace("mirror}", "archive}"),
    "two primaries": SMALL.replace("mirror}", "primary}"),
    "no stores": SMALL.replace("        mm_stores: [/var/vmail]\n", "        mm_rpo: 30s\n"),
    "a root inside another": SMALL.replace("[/var/vmail]", "[/srv, /srv/mail, /srv]"),
    "another number of roots": with_host("mm_stores: [/a, /b]"),
    "the same address": with_host("ansible_host: ONE.example.org."),
    "both local, same root": BOTH_LOCAL,
    "a host in two pairs": TWO_PAIRS,
    "an address in two pairs": TWO_PAIRS.replace("one.", "eins.", 1)
    .replace("two.", "zwei.", 1)
    .replace("primary}", "primary, ansible_host: 2001:db8::1}", 1)
    .replace("mirror}", "mirror, ansible_host: 2001:DB8:0::1, ansible_port: 23}", 1)
    .replace("primary}", "primary, ansible_host: 2001:db8:0:0::1}", 1),
    "a forced command without ssh": with_host("ansible_connection: local, mm_forced: true"),
    "an address that is a host's own": with_vars(
        'mm_vip: {addresses: [192.0.2.11/24, "2001:db8::1/64", "2001:db8:0::1/128"], interface: eth0}'
    ).replace("mm_place: primary", "mm_place: primary, ansible_host: 192.0.2.11"),
    "an interface without addresses": with_host("mm_vip: {interface: ens3}"),
    "an address that moves with two pairs": TWO_PAIRS.replace(
        "[/var/vmail]\n", "[/var/vmail]\n        mm_vip: {addresses: [192.0.2.10/24], interface: eth0}\n"
    )
    .replace("one.", "eins.", 1)
    .replace("two.", "zwei.", 1),
    "an address that another pair's host has": TWO_PAIRS.replace(
        "[/var/vmail]\n", "[/var/vmail]\n        mm_vip: {addresses: [192.0.2.10/24], interface: eth0}\n", 1
    )
    .replace("one.", "eins.", 1)
    .replace("two.", "zwei.", 1)
    .replace("two.example.org: {mm_place: mirror}", "two.example.org: {mm_place: mirror, ansible_host: 192.0.2.10}"),
    "two guards at one port": TWO_LEASED,
    "two guards at one port that is said": TWO_LEASED.replace(
        "        mm_lease: {ttl: 8s}\n", "        mm_lease: {ttl: 8s}\n        mm_guard_port: 7600\n"
    ).replace("wit.example.org: {mm_place: witness", "wit2.example.org: {ansible_port: 23, mm_place: witness", 1),
    "a witness that is another pair's mail host": TWO_LEASED.replace("192.0.2.9}", "192.0.2.10}", 1).replace(
        "192.0.2.9}", "192.0.2.2, ansible_port: 23}"
    ),
    "state inside the mail": with_host("ansible_connection: local").replace(
        "hosts:", "  mm_state_dir: /var/vmail/x\n      hosts:"
    ),
    "two hosts on one outlet": with_host(
        "mm_fence: [{agent: fence_apc, parameters: {ip: 192.0.2.1, plug: 1}}]"
    ).replace(
        "mm_place: primary",
        "mm_place: primary, mm_fence: [{agent: fence_apc, level: 2, parameters: {plug: 1, ip: 192.0.2.1}}]",
    ),
    "a fence of the archive": SMALL
    + "        three.example.org: {mm_place: archive, mm_fence: [{agent: fence_apc, parameters: {ip: 192.0.2.1}}]}\n",
    "on and off are alike": with_host("mm_fence: [{exec: {switch_off: [a], status: [b], says_off: x, says_on: x}}]"),
    "a lease without a witness": with_vars("mm_lease: {ttl: 8s}"),
    "how health is looked at": with_vars(
        "mm_services: {smtp: postfix}",
        "mm_probe: {interval: 0s, fall: 1, services: [imaps]}",
        "mm_ports: {imap: 70000, sieve: 4190}",
        "mm_canary: {address: canary, password: hunter2}",
        'mm_references: [ns.example.org:53, 192.0.2.1, "[2001:db8::1]:53"]',
    ),
    "health that can't be": with_vars(
        "mm_services: {smtp: postfix}",
        "mm_canary: {address: c@example.org, password: {file: /etc/c}}",
        "mm_restart: {services: [imap]}",
    ),
    "windows that can't be kept": with_vars(
        "mm_services: {smtp: postfix}",
        'mm_windows: [{name: a, start: "0 * * * *", length: 2h}, {name: a, start: "0 0 31 2 *", length: 1h}]',
    ),
    "windows of a pair that moves nobody": with_vars('mm_windows: [{name: a, start: "Sun 02:30", length: 1h}]'),
    "alerts by no way, by two, to nobody": with_vars(
        "mm_alerts:",
        "  - {name: a}",
        "  - {name: b, webhook: {url: ftp://x/y}, exec: {command: [x]}}",
        "  - {name: c, smtp: {server: s.example.net, sender: x, to: []}}",
    ),
    "alerts only through the servers that they are about": with_vars(
        "mm_services: {smtp: postfix}",
        "mm_canary: {address: c@example.org, password: {file: /etc/c}}",
        "mm_alerts:",
        "  - {name: a, smtp: {server: two.example.org, sender: m@example.net, to: [ann@example.net]}}",
        "  - {name: b, smtp: {server: s.example.net, sender: m@example.net, to: [ann@example.org]}}",
    ),
    "alerts that share a name": with_vars(
        "mm_alerts: [{name: a, exec: {command: [x]}}, {name: a, exec: {command: [y]}}]"
    ),
    "links without a page": with_vars("mm_url: https://mailmirror.example.net"),
    "two daemons": TWO_PAIRS.replace("[/var/vmail]\n", "[/var/vmail]\n        mm_listen: 127.0.0.1:1\n", 1)
    .replace("one.", "eins.", 1)
    .replace("two.", "zwei.", 1),
}


def messages() -> dict[str, str]:
    """What is said of each case; "loaded" where nothing is wrong."""
    told = {}
    for name, text in CASES.items():
        try:
            read_bytes(text if isinstance(text, bytes) else text.encode(), NAME)
            told[name] = "loaded"
        except InventoryError as error:
            told[name] = str(error)
    return told


if __name__ == "__main__":  # writes messages.txt anew; read the difference before you keep it
    blocks = [f"## {name}\n{text}\n" for name, text in messages().items()]
    Path(__file__).with_name("messages.txt").write_text("\n".join(blocks), encoding="utf-8")
