"""`make torture`: heaps under threads, forks, signals, exec, limits on memory, and ends of all kinds, for as long as wanted."""
