"""What every function needs of AWS: clients, tables, queues, its environment."""
