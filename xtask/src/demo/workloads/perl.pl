# Hashes, nested data, sorting, regular expressions, string building, fork with a pipe.
use strict;
use warnings;

my $seed = 7;
sub draw { $seed = ($seed * 1103515245 + 12345) & 0x7fffffff; return $seed % $_[0] }

my (%by_key, @records);
for my $i (0 .. 79_999) {
    my $key = sprintf "%s-%05d", join("", map { chr(97 + draw(26)) } 1 .. 3), draw(20_000);
    push @{ $by_key{$key} }, { id => $i, name => "record $i", tags => [ map { draw(100) } 1 .. 3 ] };
    push @records, $by_key{$key}[-1] if $i % 7 == 0;
}
my $keys = keys %by_key;
print "keys: $keys\n";
my @longest = sort { @{ $by_key{$b} } <=> @{ $by_key{$a} } || $a cmp $b } keys %by_key;
print "$_: ", scalar @{ $by_key{$_} }, "\n" for @longest[ 0 .. 4 ];

my $text = join " ", map { "$_->{name}:" . join(",", @{ $_->{tags} }) } @records;
print "text: ", length $text, "\n";
my %seen;
$seen{$1}++ while $text =~ /record (\d+)\d:/g;
print "groups: ", scalar keys %seen, "\n";
(my $changed = $text) =~ s/(\d+),(\d+)/$2-$1/g;
print "changed: ", length $changed, " ", substr($changed, 1000, 60), "\n";

delete @by_key{ grep { /^[a-m]/ } keys %by_key };
print "left: ", scalar keys %by_key, "\n";

pipe my $reader, my $writer or die;
my $child = fork // die;
if (!$child) {
    close $reader;
    my $sum = 0;
    $sum += $_->{id} for map { @$_ } values %by_key;
    my @copy = map { { %$_, extra => "x" x 20 } } @records;
    print {$writer} "child: $sum ", scalar @copy, "\n";
    close $writer;
    exit 0;
}
close $writer;
print while <$reader>;
waitpid $child, 0;
print "child status: $?\n";
