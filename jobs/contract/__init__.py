"""What every topic and every key holds. Pure: no clock, no network, no Flink."""
