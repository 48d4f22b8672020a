"""The mailrelay command."""
