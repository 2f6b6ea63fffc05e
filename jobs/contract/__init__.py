"""Say what every topic, every key and every saved configuration holds. Pure: no clock, no network, no Flink."""
