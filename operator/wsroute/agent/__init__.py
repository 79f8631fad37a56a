"""What runs beside nginx in the balancer's pod: it brings versions in, verifies them, and acknowledges."""
