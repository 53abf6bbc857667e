# Builds, groups, joins and drops records. Argument: rounds.
use strict;
use warnings;

my $total = 0;
for my $number (1 .. $ARGV[0]) {
    my (@records, %groups);
    for my $i (1 .. 4000) {
        push @records, { id => $number * 4000 + $i, name => "user" . ($i * 7919 % 997),
                         values => [map { $i * $_ } 1 .. 6], note => "x" x ($i % 300) };
    }
    push @{ $groups{ $_->{name} } }, join(",", @{ $_->{values} }) . $_->{note} for @records;
    $total += length(join ";", sort @{ $groups{$_} }) for keys %groups;
}
print "$total\n";
