"""What stands in for the world on one's own machine: DHIS2, mSupply's sample, the emulator, the demo."""
