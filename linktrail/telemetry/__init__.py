"""What the two programs tell monitoring: ``table`` declares every metric, ``board`` carries values and states, ``endpoint`` serves them."""
