"""Everything that proves mailmirror; tests/support builds what the tests stand on."""
